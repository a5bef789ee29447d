// What has to be so before a check can be claimed that is not made on this page.

import { make, show } from "./elements.js";
import { moment, text } from "./texts.js";

const REASONS = {
  unconscious: "emergency-reason-unconscious",
  disaster: "emergency-reason-disaster",
  drill: "emergency-reason-drill",
};
const QUESTIONS = {
  face: ["desk-face", "desk-face-about", "desk-face-yes"],
  none_emergency: ["desk-emergency", "desk-emergency-about", "desk-emergency-yes"],
};

// Returns an empty value once it is confirmed, null where it is not.
export function confirm(place, check) {
  const [heading, about, yes] = QUESTIONS[check.method];
  const values = { device: check.device ?? "" };
  return new Promise((answered) => {
    const parts = [make("h2", { text: heading }), make("p", { text: about, values })];
    if (check.method === "none_emergency") {
      const until = () => moment(new Date(check.until * 1000));
      const reason = () => text(REASONS[check.reason] ?? REASONS.disaster);
      parts.push(make("p", { class: "note", text: "desk-emergency-window", values: { reason, until } }));
    }
    const accept = make("button", { type: "button", class: "main", text: yes, on: { click: () => answered({}) } });
    const back = make("button", { type: "button", text: "desk-back", on: { click: () => answered(null) } });
    show(place, make("section", { class: "sheet" }, ...parts, make("div", { class: "buttons" }, accept, back)));
  });
}
