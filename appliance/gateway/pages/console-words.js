// How the console writes: times, numbers, commands in texts; and how it draws a place anew without losing the reader's.

import { make } from "./elements.js";
import { language } from "./texts.js";

const LOCALES = { ja: "ja-JP", en: "en-GB" };
const HOUR = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const DATE = { year: "numeric", month: "2-digit", day: "2-digit" };
const DRAWN = new Map();

function moment(value) {
  return new Date(typeof value === "number" && value < 1e11 ? value * 1000 : value);
}

function written(value, options) {
  return new Intl.DateTimeFormat(LOCALES[language()], options).format(moment(value));
}

// A time of day, with its date where that is another one than today's; of Unix seconds, milliseconds or text.
export function time(value) {
  const isToday = moment(value).toDateString() === new Date().toDateString();
  return written(value, { ...(isToday ? {} : DATE), ...HOUR, second: "2-digit" });
}

export function hour(value) {
  return written(value, HOUR);
}

export function date(value) {
  return written(value, DATE);
}

export function number(value, digits = 0) {
  return new Intl.NumberFormat(LOCALES[language()], {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  }).format(value);
}

// A paragraph of a text from the catalogue, whose commands and settings stand in backticks; *heading* is a text's key.
export function paragraph(words, attributes = {}, heading = null) {
  const pieces = words.split("`").map((piece, at) => (at % 2 === 0 ? piece : make("code", {}, piece)));
  const before = heading === null ? [] : [make("strong", { text: heading }), " "];
  return make("p", attributes, ...before, ...pieces);
}

// Draws a place anew where what is shown has changed. What is open, scrolled to, and in focus by its id stays so.
export function draw(place, shown, content) {
  const key = JSON.stringify(shown);
  if (DRAWN.get(place.id) === key) {
    return;
  }
  DRAWN.set(place.id, key);
  const open = new Set([...place.querySelectorAll("details[open]")].map((one) => one.id));
  const scrolled = new Map([...place.querySelectorAll(".scroll")].map((one) => [one.id, one.scrollTop]));
  const focused = place.contains(document.activeElement) ? document.activeElement.id : "";
  place.replaceChildren(...content());
  for (const one of place.querySelectorAll("details")) {
    one.open = open.has(one.id);
  }
  for (const one of place.querySelectorAll(".scroll")) {
    one.scrollTop = scrolled.get(one.id) ?? 0;
  }
  if (focused !== "") {
    document.getElementById(focused)?.focus({ preventScroll: true });
  }
}

// Has every place drawn anew at the next time.
export function forget() {
  DRAWN.clear();
}

// A table: columns as keys of texts, rows as lists of what is in them.
export function table(caption, columns, rows) {
  const head = columns.map((key) => make("th", { scope: "col", text: key }));
  const cell = (content, at) => (at === 0 ? make("th", { scope: "row" }, content) : make("td", {}, content));
  return make(
    "table",
    {},
    make("caption", { class: "unseen", text: caption }),
    make("thead", {}, make("tr", {}, ...head)),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map(cell)))),
  );
}
