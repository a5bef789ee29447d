// What goes on at this moment: where, how checked, how far. Not whose, and not how it ends.

import { number, table } from "./console-words.js";
import { make } from "./elements.js";
import { text } from "./texts.js";

const COLUMNS = ["console-column-desk", "console-column-check", "console-column-stage", "console-column-seconds"];

export function live({ authentications, more }) {
  if (authentications.length === 0) {
    return [make("p", { text: "console-live-none" })];
  }
  const rows = authentications.map((one) => [
    one.desk,
    text(`console-check-${one.check}`),
    text(`console-stage-${one.stage}`),
    number(one.seconds),
  ]);
  const rest = more === 0 ? [] : [make("p", { text: "console-live-more", values: { number: more } })];
  return [table("console-live", COLUMNS, rows), ...rest];
}
