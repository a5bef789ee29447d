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
import { result } from "./desk-result.js";
import { connection } from "./elements.js";
import { offerLanguages, speak } from "./texts.js";

const PLACE = document.querySelector("main");
const PATH = "/v1/authentications";
const ENTRIES_SECONDS = 120;
const SECONDS_TO_SPEAK = 5;
const LETTERS = "23456789abcdefghjkmnpqrstuvwxyz";
// What lasts from one visit to the next: which desk this is, and who compares here.
const here = { desk: null, operator: null };
let running = null;

// An id that can be read out on the phone; the appliance's log has it.
function newRequestId() {
  const drawn = crypto.getRandomValues(new Uint8Array(12));
  const letters = Array.from(drawn, (one) => LETTERS[one % LETTERS.length]).join("");
  return letters.replace(/(....)(?=.)/g, "$1-");
}

function orderOf(check, details, canAsk) {
  const order = { desk: here.desk, mode: check.method === "pin" ? "pin" : "pinless" };
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

// Begins an authentication and returns how it ended; raises Refused where it could not begin, or is forgotten.
async function authenticated(check, order) {
  const visit = { id: null, request: newRequestId(), stage: null, isCancelled: false, isOver: false };
  const key = crypto.randomUUID();
  const cancel = () => {
    visit.isCancelled = true;
    if (visit.id !== null) {
      void insist(() => ask("DELETE", `${PATH}/${visit.id}`), connection, () => !visit.isOver).catch(() => null);
    }
  };
  const view = progress(PLACE, check, cancel);
  const begin = () => ask("POST", PATH, { body: order, key, requestId: visit.request });
  running = visit;
  try {
    const job = await persist(begin, connection, () => !visit.isCancelled);
    if (job === null) {
      return { state: "cancelled", request: visit.request };
    }
    visit.id = job.id;
    if (visit.isCancelled) {
      cancel();
    }
    const ended = await follow(`${PATH}/${job.id}`, job, {
      lost: connection,
      stage: (stage) => staged(stage, visit, check, view),
    });
    // Only what is shown is kept: not the token, and not what the insurer says beyond its summary.
    const { state, claims, problem, eligibility } = ended;
    erase(eligibility?.document);
    return { state, claims, problem, eligibility, request: visit.request };
  } catch (error) {
    if (error instanceof Refused) {
      return { state: "refused", problem: error.problem, request: visit.request };
    }
    throw error;
  } finally {
    visit.isOver = true;
    running = null;
    forget(PLACE);
  }
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
  insist(() => ask("GET", `${path}/front`), connection, isAwaited)
    .then((front) => {
      if (front !== null && isAwaited()) {
        compare(PLACE, front, check.seconds, decide);
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
  const { check, canAsk } = await choose(PLACE, here);
  let entries = null;
  for (let again = true; again; ) {
    let details = null;
    if (check.method === "visual") {
      details = await enter(PLACE, check, here, entries);
    } else if (check.method !== "pin") {
      details = await confirm(PLACE, check);
    } else {
      details = {};
    }
    if (details === null) {
      return;
    }
    entries = details;
    const ended = await authenticated(check, orderOf(check, details.printed, canAsk));
    // What was typed off the card is kept for another try, but not while nobody sits here.
    const forgetting = setTimeout(() => erase(details), ENTRIES_SECONDS * 1000);
    again = await result(PLACE, check, ended);
    clearTimeout(forgetting);
  }
}

// Nothing stays on a page that is left, and a desk is not kept busy by it.
function leave() {
  if (running !== null && running.id !== null && !running.isOver) {
    const path = `${PATH}/${running.id}`;
    void ask("DELETE", path, { keepalive: true }).catch(() => null);
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
