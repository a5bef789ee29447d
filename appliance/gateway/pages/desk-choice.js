// Which desk, where there are several, and which check of those that it offers.

import { ask, pause, persist } from "./asking.js";
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

// Returns the check that is chosen, and whether eligibility can be asked. *here* remembers the desk.
export function choose(place, here) {
  return new Promise((chosen, failed) => {
    let isOpen = true;
    let seen = "";
    const choice = (check, canAsk) => {
      isOpen = false;
      chosen({ check, canAsk });
    };
    const look = async () => {
      while (isOpen) {
        const known = await persist(() => ask("GET", "/v1/terminals"), connection, () => isOpen);
        // Only what is said here counts: how long it has been so does not.
        const now = JSON.stringify(known?.desks.map(({ desk, state, checks }) => [desk, state, checks]));
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
  if (!desks.some((one) => one.desk === here.desk)) {
    here.desk = desks.length === 1 ? desks[0].desk : null;
  }
  const desk = desks.find((one) => one.desk === here.desk);
  const parts = [make("h2", { text: "desk-choose" })];
  if (desks.length === 0) {
    parts.push(make("p", { text: "desk-none" }));
  }
  if (desks.length > 1) {
    parts.push(deskChoice(desks, here, redraw));
  }
  if (desk !== undefined) {
    parts.push(state(desk), checkChoice(desk, (check) => choice(check, known.eligibility)));
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
          here.desk = one.desk;
          redraw();
        },
      },
    });
    radio.checked = one.desk === here.desk;
    return make("label", { class: "desk" }, radio, one.desk);
  });
  return make("fieldset", { class: "desks" }, make("legend", { text: "desk-which" }), ...rows);
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
