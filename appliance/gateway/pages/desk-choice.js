// Which desk, where there are several, and which check of those that it offers.

import { ask, insist, pause } from "./asking.js";
import { connection, make, show } from "./elements.js";

const AGAIN_SECONDS = 5;
// Literal, so that a test finds them in the catalogue.
const CHECKS = {
  face: ["desk-check-face", "desk-check-face-about"],
  visual: ["desk-check-visual", "desk-check-visual-about"],
  pin: ["desk-check-pin", "desk-check-pin-about"],
  none_emergency: ["desk-check-emergency", "desk-check-emergency-about"],
};
const STATES = { absent: "desk-state-absent", busy: "desk-state-busy", stuck: "desk-state-stuck" };

// Returns the check that is chosen, at which desk, who may compare, and whether eligibility can be asked. *here*
// remembers which desk the clerk has chosen: what is done with whose card there depends on it, so that the page never chooses another.
export function choose(place, here) {
  return new Promise((chosen, failed) => {
    let isOpen = true;
    let seen = "";
    const choice = (desk, check, { operators, eligibility }) => {
      isOpen = false;
      chosen({ desk, check, operators, canAsk: eligibility });
    };
    const look = async () => {
      while (isOpen) {
        const known = await insist(() => ask("GET", "/v1/terminals"), connection, () => isOpen);
        // Only what is said here counts: how long it has been so does not.
        const desks = known?.desks.map(({ desk, state, checks }) => [desk, state, checks]);
        const now = JSON.stringify([desks, known?.operators]);
        if (isOpen && now !== seen) {
          draw(place, known, here, choice, seen === "");
          seen = now;
        }
        await pause(AGAIN_SECONDS);
      }
    };
    look().catch(failed);
  });
}

function draw(place, known, here, choice, isFirst) {
  const desks = known.desks.filter((one) => one.checks.length > 0);
  const redraw = () => draw(place, known, here, choice, false);
  here.hasSeveral ||= desks.length > 1;
  // Where there was ever a choice, the one that is left is not taken for the one that this is.
  const isAsked = here.hasSeveral || here.chosen !== null;
  const desk = isAsked ? desks.find((one) => one.desk === here.chosen) : desks[0];
  const parts = [make("h2", { text: "desk-choose" })];
  if (desks.length === 0 && here.chosen === null) {
    parts.push(make("p", { text: "desk-none" }));
  }
  if (desks.length > 0 && isAsked) {
    parts.push(deskChoice(desks, here, redraw));
  }
  if (desk !== undefined) {
    const name = isAsked ? [] : [make("p", { class: "where", text: "desk-here", values: { desk: desk.desk } })];
    // Nothing can begin at a reader that is away, so that nobody confirms or types anything for it.
    const checks = desk.state === "absent" ? [] : [checkChoice(desk, (check) => choice(desk.desk, check, known))];
    parts.push(...name, state(desk), ...checks);
  } else if (here.chosen !== null) {
    parts.push(missing(here.chosen));
  }
  keepingFocus(place, isFirst, parts);
}

function deskChoice(desks, here, redraw) {
  const rows = desks.map((one) => {
    const radio = make("input", {
      type: "radio",
      name: "desk",
      "data-focus": one.desk,
      on: {
        change: () => {
          here.chosen = one.desk;
          redraw();
        },
      },
    });
    radio.checked = one.desk === here.chosen;
    return make("label", { class: "desk" }, radio, one.desk);
  });
  return make("fieldset", { class: "desks" }, make("legend", { text: "desk-which" }), ...rows);
}

// Says that the desk that was chosen is not there; the clerk waits for it, or says that this is another one.
function missing(desk) {
  const note = make("p", { class: "note", text: "desk-missing", values: { desk } });
  return make("div", { role: "status" }, note);
}

function state(desk) {
  const key = STATES[desk.state];
  return make("div", { role: "status" }, ...(key === undefined ? [] : [make("p", { class: "note", text: key })]));
}

function checkChoice(desk, choice) {
  const buttons = desk.checks
    .filter((check) => check.method in CHECKS)
    .map((check) => {
      const [name, about] = CHECKS[check.method];
      const id = `about-${check.method}`;
      return make(
        "li",
        {},
        make("button", {
          type: "button",
          class: "check",
          text: name,
          "aria-describedby": id,
          "data-focus": check.method,
          "data-method": check.method,
          on: { click: () => choice(check) },
        }),
        make("p", { id, text: about }),
      );
    });
  return make("ul", { class: "checks" }, ...buttons);
}

// Draws anew without taking the reader away from where they are.
function keepingFocus(place, isFirst, parts) {
  const focused = document.activeElement?.dataset?.focus;
  if (isFirst) {
    show(place, ...parts);
    return;
  }
  place.replaceChildren(...parts);
  if (focused !== undefined) {
    place.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
  }
}
