// The desk page: one visit after the other, each from the choice of a check to its result.
//
//   choose ──> (what the check needs) ──> follow ──> (compare) ──> result ──> choose
//
// What is known of a visit is in memory alone, and goes with it.

import { Refused, ask, insist, pause, persist } from "./asking.js";
import { choose } from "./desk-choice.js";
import { confirm } from "./desk-confirmation.js";
import { compare, forget } from "./desk-front.js";
import { follow } from "./desk-following.js";
import { enter } from "./desk-printed.js";
import { progress } from "./desk-progress.js";
import { forgetPerson, result, shown } from "./desk-result.js";
import { connection } from "./elements.js";
import { offerLanguages, speak } from "./texts.js";

const PLACE = document.querySelector("main");
const PATH = "/v1/authentications";
const FORGETTING_SECONDS = 120;
const SECONDS_TO_SPEAK = 5;
const LETTERS = "23456789abcdefghjkmnpqrstuvwxyz";
// What lasts from one visit to the next: which desk the clerk has chosen, whether there was ever a choice, and who
// compares here.
const here = { chosen: null, hasSeveral: false, operator: null };
let running = null;

// An id that can be read out on the phone; the appliance's log has it.
function newRequestId() {
  const drawn = crypto.getRandomValues(new Uint8Array(12));
  const letters = Array.from(drawn, (one) => LETTERS[one % LETTERS.length]).join("");
  return letters.replace(/(....)(?=.)/g, "$1-");
}

function orderOf(desk, check, details, canAsk) {
  const order = { desk, mode: check.method === "pin" ? "pin" : "pinless" };
  if (check.method === "face") {
    order.identity_check = { method: check.method, device: check.device };
  } else if (check.method === "visual") {
    order.identity_check = { method: check.method, operator: here.operator };
    order.front = details;
  } else if (check.method === "none_emergency") {
    order.identity_check = { method: check.method };
  }
  return canAsk ? { ...order, eligibility: true } : order;
}

// Begins an authentication and returns how it ended.
async function authenticated(check, order) {
  const visit = {
    ...{ id: null, key: crypto.randomUUID(), request: newRequestId(), stage: null },
    ...{ asked: 0, asking: new AbortController(), isCancelled: false, isOver: false },
  };
  const cancel = () => {
    visit.isCancelled = true;
    visit.asking.abort();
    if (visit.id !== null) {
      void insist(() => withdraw(visit), connection, () => !visit.isOver).catch(() => null);
    }
  };
  const view = progress(PLACE, order.desk, cancel);
  running = visit;
  try {
    const job = await begun(visit, order);
    if (job === null) {
      return { state: "cancelled", request: visit.request };
    }
    visit.id = job.id;
    const ended = await follow(`${PATH}/${job.id}`, job, {
      lost: connection,
      stage: (stage) => staged(stage, visit, check, view),
    });
    return { ...shown(ended), request: visit.request };
  } catch (error) {
    if (!(error instanceof Refused)) {
      throw error;
    }
    const left = await ending(visit);
    const ended = left?.state === "authenticated" ? shown(left) : { state: "refused", problem: error.problem };
    return { ...ended, request: visit.request };
  } finally {
    visit.isOver = true;
    running = null;
    forget(PLACE);
  }
}

// Has it begun, and returns the job. Where the clerk cancels before there is an answer, it may have begun or may do so
// yet: what the appliance makes of the key then decides, and null says that there is nothing.
async function begun(visit, order) {
  const { key, request: requestId, asking } = visit;
  const begin = () => {
    visit.asked += 1;
    return ask("POST", PATH, { body: order, key, requestId, signal: asking.signal });
  };
  const job = await persist(begin, connection, () => !visit.isCancelled);
  return visit.isCancelled ? insist(() => withdraw(visit), connection) : job;
}

// Ends what may go on though the page cannot follow it, or was refused it; returns how it ended where that is known.
async function ending(visit) {
  if (visit.id === null && visit.asked < 2) {
    // The one request that there was has its answer.
    return null;
  }
  return insist(() => withdraw(visit), connection).catch(() => null);
}

// Cancels whatever was asked for in this visit, also what the appliance has not heard of yet.
function withdraw({ key }, how = {}) {
  return ask("DELETE", PATH, { ...how, key });
}

// Shows how far it is: the front where it is to be compared, else what is going on.
function staged(stage, visit, check, view) {
  visit.stage = stage;
  forget(PLACE);
  if (stage !== "awaiting-decision") {
    view.stage(stage);
    return;
  }
  const path = `${PATH}/${visit.id}`;
  const isAwaited = () => visit.stage === stage && !visit.isOver;
  const decide = (samePerson) => {
    forget(PLACE);
    view.stage("talking");
    const said = { body: { same_person: samePerson } };
    void insist(() => ask("POST", `${path}/decision`, said), connection, isAwaited).catch(() => null);
  };
  const cancel = () => {
    forget(PLACE);
    view.cancel();
  };
  insist(() => ask("GET", `${path}/front`), connection, isAwaited)
    .then((front) => {
      if (front !== null && isAwaited() && !visit.isCancelled) {
        compare(PLACE, front, check.seconds, { decide, cancel });
      }
    })
    // The front is gone when the authentication has ended meanwhile, of which `follow` tells.
    .catch(() => null);
}

function erase(known) {
  Object.keys(known ?? {}).forEach((name) => delete known[name]);
}

// Leads through one visit; returns when the next one may begin.
async function visit() {
  const { desk, check, operators, canAsk } = await choose(PLACE, here);
  let entries = null;
  for (let again = true; again; ) {
    let details = null;
    if (check.method === "visual") {
      details = await enter(PLACE, operators, here, entries);
    } else if (check.method !== "pin") {
      details = await confirm(PLACE, check);
    } else {
      details = {};
    }
    if (details === null) {
      return;
    }
    entries = details;
    const ended = await authenticated(check, orderOf(desk, check, details.printed, canAsk));
    // What was typed off the card is kept for another try, and what the result says of a person until somebody has read
    // it; but not while nobody sits here.
    const forgetting = setTimeout(() => {
      erase(details);
      erase(ended);
      forgetPerson(PLACE);
    }, FORGETTING_SECONDS * 1000);
    again = await result(PLACE, check, ended);
    clearTimeout(forgetting);
  }
}

// Nothing stays on a page that is left, and a desk is not kept busy by it.
function leave() {
  if (running !== null && !running.isOver) {
    void withdraw(running, { keepalive: true }).catch(() => null);
  }
  forget(PLACE);
  PLACE.replaceChildren();
}

window.addEventListener("pagehide", leave);
window.addEventListener("pageshow", (event) => {
  if (event.persisted) {
    location.reload();
  }
});
// Without its texts there is nothing that a page could say.
async function spoken() {
  for (;;) {
    try {
      return await persist(() => speak(), connection);
    } catch {
      await pause(SECONDS_TO_SPEAK);
    }
  }
}

offerLanguages();
await spoken();
for (;;) {
  try {
    await visit();
  } catch (error) {
    // A page that is refused, or has a bug, says so and begins again.
    if (!(error instanceof Refused)) {
      reportError(error);
    }
    await result(PLACE, null, { state: "refused", problem: error.problem ?? { code: "internal" } });
  }
}
