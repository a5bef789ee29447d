// What is going on while the card is worked with, and what the clerk has to do meanwhile.

import { make, show } from "./elements.js";
import { say } from "./texts.js";

// A phase of the API, by what is said of it.
const STAGES = {
  starting: "desk-stage-starting",
  "waiting-for-card": "desk-stage-card",
  reading: "desk-stage-reading",
  "awaiting-decision": "desk-stage-front",
  talking: "desk-stage-talking",
  "waiting-for-pin": "desk-stage-pin",
  deciding: "desk-stage-deciding",
  "asking-eligibility": "desk-stage-eligibility",
};
const HEADINGS = {
  "waiting-for-card": "desk-place-card",
  "waiting-for-pin": "desk-enter-pin",
};

// Shows what goes on at *desk*; returns what tells it further stages, and what cancels from another step's button.
export function progress(place, desk, cancel) {
  const heading = make("h2", { text: "desk-working" });
  const said = make("p", { class: "stage", text: STAGES.starting });
  const button = make("button", { type: "button", text: "desk-cancel" });
  const live = make("div", { role: "status" }, said);
  const sign = make("div", { class: "sign", "aria-hidden": "true" });
  const where = make("p", { class: "where", text: "desk-here", values: { desk } });
  const sheet = make("section", { class: "sheet working" }, heading, where, sign, live, button);
  const cancelled = () => {
    button.disabled = true;
    say(said, "desk-cancelling");
    if (!sheet.isConnected) {
      show(place, sheet);
    }
    cancel();
  };
  button.addEventListener("click", cancelled);
  show(place, sheet);
  return {
    cancel: cancelled,
    stage(stage) {
      sheet.dataset.stage = stage;
      say(heading, HEADINGS[stage] ?? "desk-working");
      if (!button.disabled) {
        say(said, STAGES[stage] ?? STAGES.starting);
      }
      if (!sheet.isConnected) {
        show(place, sheet);
      }
    },
  };
}
