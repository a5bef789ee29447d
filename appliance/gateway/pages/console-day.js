// The last day: why authentications were refused, how many there were, and how long they took.

import { bars, points } from "./console-chart.js";
import { hour, number, paragraph, table, time } from "./console-words.js";
import { make } from "./elements.js";
import { errorText, label, text } from "./texts.js";

const DAY = 86400;
const RATE = [
  "console-column-time",
  "console-column-authenticated",
  "console-column-refused",
  "console-column-cancelled",
];
const LATENCY = ["console-column-time", "console-column-median", "console-column-slow"];

export function refusals(causes) {
  if (causes.length === 0) {
    return [make("p", { text: "console-refusals-none" })];
  }
  return [make("ul", { class: "causes" }, ...causes.map(cause))];
}

function cause({ code, times, at, desks }) {
  const said = errorText(code);
  return make(
    "li",
    {},
    make("h3", {}, said.title, " ", make("code", {}, code)),
    make("p", { text: "console-times", values: { times: number(times), time: time(at) } }),
    make("p", { text: "console-desks", values: { desks: desks.join(", ") } }),
    make(
      "details",
      { id: `cause-${code}` },
      make("summary", { id: `cause-${code}-summary`, text: "console-what-helps" }),
      make("h4", { text: "console-clerk" }),
      paragraph(said.clerk),
      make("h4", { text: "console-operator" }),
      paragraph(said.operator),
    ),
  );
}

function figures(id, name, columns, rows) {
  const region = make("div", { class: "scroll", id: `${id}-scroll`, tabindex: 0, role: "region" });
  label(region, name);
  region.append(table(name, columns, rows));
  return make(
    "details",
    { id: `${id}-figures` },
    make("summary", { id: `${id}-summary`, text: "console-figures" }),
    region,
  );
}

function chart(id, title, told, about, drawing, columns, rows) {
  return make(
    "figure",
    { id },
    make("figcaption", {}, make("h3", { text: title }), make("p", { id: `${id}-told` }, told), make("p", { text: about })),
    drawing,
    figures(id, title, columns, rows),
  );
}

// When the stretch ends that goes on now: until then, nothing moves.
export function endOf({ now, stretch_seconds: seconds }) {
  return (Math.floor(now / seconds) + 1) * seconds;
}

export function day(told) {
  const { since, stretches, stretch_seconds: seconds } = told;
  const end = endOf(told);
  const span = { begin: end - DAY, end };
  const about = since > span.begin ? [make("p", { text: "console-day-since", values: { time: time(since) } })] : [];
  if (stretches.length === 0) {
    return [...about, make("p", { text: "console-chart-none" })];
  }
  const charts = [rate(span, stretches, seconds)];
  const timed = stretches.filter((one) => one.median_seconds !== null);
  if (timed.length > 0) {
    charts.push(latency(span, timed, seconds));
  }
  return [...about, ...charts];
}

function rate(span, stretches, seconds) {
  const sum = (name) => stretches.reduce((all, one) => all + one[name], 0);
  const most = Math.max(...stretches.map((one) => one.authenticated + one.refused + one.cancelled));
  const values = { most: number(most) };
  ["authenticated", "refused", "cancelled"].forEach((name) => (values[name] = number(sum(name))));
  const rows = stretches.map((one) => [
    hour(one.begin),
    number(one.authenticated),
    number(one.refused),
    number(one.cancelled),
  ]);
  const told = text("console-rate-told", values);
  const drawing = bars("rate-told", span, stretches, seconds);
  return chart("rate", "console-rate", told, "console-rate-up", drawing, RATE, rows.reverse());
}

function latency(span, timed, seconds) {
  const most = (name) => number(Math.max(...timed.map((one) => one[name])), 2);
  const told = text("console-latency-told", { median: most("median_seconds"), slow: most("slow_seconds") });
  const rows = timed.map((one) => [hour(one.begin), number(one.median_seconds, 2), number(one.slow_seconds, 2)]);
  const drawing = points("latency-told", span, timed, seconds);
  return chart("latency", "console-latency", told, "console-latency-about", drawing, LATENCY, rows.reverse());
}
