// The console: looks again and again, and shows what it has just been told; never what was so some time ago.

import { ask, pause, Refused, Unreachable } from "./asking.js";
import { parts, place as placeParts, situation, summary } from "./console-parts.js";
import { day, endOf, refusals } from "./console-day.js";
import { Emergency, windows } from "./console-emergency.js";
import { live } from "./console-live.js";
import { draw, forget, paragraph, time } from "./console-words.js";
import { connection, make } from "./elements.js";
import { errorText, offerLanguages, speak, text } from "./texts.js";

const EVERY = 2;
// The day moves on also where nothing ends.
const DAY_EVERY = 60;
const ANSWER_SECONDS = 8;
// After so many seconds without an answer nothing of the last one is shown any more.
const STALE = 12;

const known = document.querySelector("#known");
const lost = document.querySelector("#lost");
const asOf = document.querySelector("#as-of");
// What was told last; null where nothing is that may still be so.
let now = null;
let dayOf = null;
let seen = null;
// Looks are numbered: what an earlier one brings after a later one's answer is old.
let begun = 0;
let newest = 0;
let refusal = null;

const emergency = new Emergency(place("emergency"), attempt);

function place(name) {
  return document.querySelector(`#${name}`);
}

function present() {
  known.hidden = now === null;
  lost.hidden = now !== null || (refusal === null && seen === null);
  if (now === null) {
    forget();
    ["summary", "parts", "live", "refusals", "day"].forEach((name) => place(name).replaceChildren());
    emergency.clear();
    asOf.replaceChildren();
    lost.replaceChildren(...absence());
    return;
  }
  lost.replaceChildren();
  asOf.textContent = text("console-as-of", { time: time(now.status.condition.time) });
  const here = situation(now);
  draw(place("summary"), here, () => summary(here));
  placeParts(place("parts"), parts(now.status, now.differs));
  draw(place("live"), now.live, () => live(now.live));
  place("emergency").hidden = now.emergencies === null;
  if (now.emergencies !== null) {
    emergency.show(now.emergencies, now.status.desks);
  }
  if (dayOf !== null) {
    draw(place("refusals"), dayOf.refusals, () => refusals(dayOf.refusals));
    draw(place("day"), [endOf(dayOf), dayOf.stretches], () => day(dayOf));
  }
}

// Says why nothing is shown.
function absence() {
  if (refusal !== null) {
    const said = errorText(refusal.code);
    return [
      make("h2", {}, said.title),
      paragraph(said.operator),
      make("p", {}, make("span", { text: "page-code" }), ": ", make("code", {}, refusal.code)),
      make("p", {}, make("span", { text: "page-request" }), ": ", make("code", {}, refusal.request_id)),
    ];
  }
  if (seen === null) {
    return [];
  }
  return [
    make("p", { text: "console-stale", values: { time: time(seen) } }),
    paragraph(text("console-do-lost"), {}, "console-what-to-do"),
  ];
}

function lose() {
  now = null;
  dayOf = null;
  connection(true);
  present();
}

function age() {
  // A clock that was set, and a computer that has slept, are reasons to look again, too.
  return seen === null ? 0 : Math.abs(Date.now() - seen) / 1000;
}

async function look() {
  begun += 1;
  const [mine, began] = [begun, Date.now()];
  const [status, underWay, emergencies] = await Promise.all([
    ask("GET", "/v1/status", { seconds: ANSWER_SECONDS }),
    ask("GET", "/v1/live", { seconds: ANSWER_SECONDS }),
    windows(ANSWER_SECONDS),
  ]);
  const old = dayOf === null ? Infinity : Math.abs(Date.now() - dayOf.askedAt) / 1000;
  let itsDay = dayOf;
  if (old > DAY_EVERY || underWay.ended !== dayOf.ended) {
    const told = await ask("GET", "/v1/day", { seconds: ANSWER_SECONDS });
    itsDay = { ...told, askedAt: Date.now(), ended: underWay.ended };
  }
  if (mine < newest) {
    return;
  }
  newest = mine;
  dayOf = itsDay;
  seen = Date.now();
  const differs = Math.round((Date.parse(status.condition.time) - (began + seen) / 2) / 1000);
  now = { status, live: underWay, emergencies, differs };
  refusal = null;
  connection(false);
  present();
}

async function attempt() {
  const mine = begun + 1;
  try {
    await look();
  } catch (error) {
    if (!(error instanceof Refused || error instanceof Unreachable)) {
      // A bug of the page is told to whoever looks for it, too.
      reportError(error);
    }
    if (mine < newest) {
      return;
    }
    now = null;
    dayOf = null;
    refusal = error instanceof Refused ? error.problem : null;
    connection(refusal === null);
    present();
  }
}

async function keepLooking() {
  for (;;) {
    await attempt();
    await pause(EVERY);
  }
}

function watch() {
  if (now !== null && age() > STALE) {
    lose();
  }
}

async function begin() {
  offerLanguages();
  for (;;) {
    try {
      await speak();
      break;
    } catch {
      await pause(EVERY);
    }
  }
  document.addEventListener("language", () => {
    forget();
    present();
  });
  setInterval(watch, 1000);
  document.addEventListener("visibilitychange", watch);
  addEventListener("pageshow", watch);
  addEventListener("pagehide", lose);
  await keepLooking();
}

await begin();
