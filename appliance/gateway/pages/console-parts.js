// What works and what does not, in words: the appliance judges (`findings`), this says it, with what belongs to it.

import { date, number, paragraph, time } from "./console-words.js";
import { make } from "./elements.js";
import { errorText, text } from "./texts.js";

const ORDER = ["hsm", "readers", "terminals", "ledger", "copies", "revocation", "certificates", "clock"];
const GRAVITY = ["failed", "warning", "ok"];
const SHAPES = {
  ok: "M3 9.5 7.5 14 15 4.5",
  warning: "M9 3v8M9 14.2v.6",
  failed: "M4 4l10 10M14 4 4 14",
};
const SVG = "http://www.w3.org/2000/svg";
// So many seconds between two clocks are no delay of the network any more.
const CLOCKS_DIFFER = 30;
const MOST_DESKS = 12;
const MOST_CERTIFICATES = 12;
const OWN = ["store", "signer"];
const SINKS = [...OWN, "directory", "syslog"];
const CERTIFICATES = new Set([
  ...["tls-server", "responder-client", "eligibility-client"],
  ...["authority", "tls-clients", "responder-authority", "eligibility-authority", "syslog-authority"],
]);
const DAY = 86400;

function icon(verdict) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", "0 0 18 18");
  drawing.setAttribute("aria-hidden", "true");
  drawing.setAttribute("class", "icon");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", SHAPES[verdict]);
  drawing.append(path);
  return drawing;
}

function worst(found) {
  return GRAVITY.find((verdict) => found.some((one) => one.verdict === verdict)) ?? "ok";
}

// What the sentence at the top depends on.
export function situation({ status: { ready, causes, findings, condition }, emergencies }) {
  return {
    verdict: ready ? (worst(findings) === "ok" ? "ok" : "warning") : "failed",
    causes,
    version: condition.version,
    since: condition.started_at,
    isEmergency: emergencies?.windows.some((one) => one.state === "open") ?? false,
  };
}

// The sentence.
export function summary({ verdict, causes, version, since, isEmergency }) {
  const key = { ok: "console-ready", warning: "console-ready-but", failed: "console-not-ready" }[verdict];
  const list = causes.map((cause) => text(`status-cause-${cause}`));
  const why = list.length === 0 ? [] : [make("p", { text: "console-because", values: { causes: list.join(", ") } })];
  const open = make("a", { href: "#emergency-heading", text: "console-emergency-is-open" });
  return [
    make(
      "div",
      { class: `banner ${verdict}` },
      make("p", { class: "sentence" }, icon(verdict), make("span", { text: key })),
      ...why,
      ...(isEmergency ? [make("p", { class: "emergency" }, open)] : []),
      make("p", { class: "runs", text: "console-runs", values: { version, time: time(since) } }),
    ),
  ];
}

function subjects({ subjects: names, more }, isNamed) {
  if (names.length === 0 || !isNamed) {
    return [];
  }
  const key = more === 0 ? "console-subjects" : "console-subjects-more";
  return [make("p", { class: "subjects", text: key, values: { names: names.map(named).join(", "), more } })];
}

// Certificates are called by what they are for, everything else by its alias.
function named(name) {
  const [, kind, number] = /^([a-z-]+?)(?:-(\d+))?$/.exec(name) ?? [];
  return CERTIFICATES.has(kind) ? text(`console-certificate-${kind}`, { number }) : name;
}

function trouble(one) {
  const isOfCode = one.code !== null && one.code !== undefined;
  const said = isOfCode ? errorText(one.code) : null;
  const what = one.advice ? text(`console-found-${one.advice}`, one.values) : said.title;
  const help = one.help ?? (one.advice ? text(`doctor-do-${one.advice}`) : said.operator);
  return [
    make("p", { class: "what" }, what, ...(isOfCode ? [" ", make("code", {}, one.code)] : [])),
    ...subjects(one, true),
    paragraph(help, { class: "help" }, "console-what-to-do"),
  ];
}

function facts(list) {
  const lines = list.map(([key, value, values = {}]) =>
    make("div", {}, key === null ? make("dt", {}, values.name) : make("dt", { text: key, values }), make("dd", {}, value)),
  );
  return lines.length === 0 ? [] : [make("dl", { class: "facts" }, ...lines)];
}

function card(part, found, told) {
  const verdict = worst(found);
  return make(
    "section",
    { class: `part ${verdict}`, "aria-labelledby": `part-${part}`, "data-part": part, "data-verdict": verdict },
    make("h3", { id: `part-${part}` }, make("span", { text: `console-part-${part}` })),
    make("p", { class: "verdict" }, icon(verdict), make("span", { text: `console-verdict-${verdict}` })),
    ...found.filter((one) => one.verdict !== "ok").flatMap(trouble),
    ...told,
  );
}

// All parts, those in trouble first.
export function parts(status, differs) {
  const found = [...status.findings];
  if (Math.abs(differs) > CLOCKS_DIFFER) {
    found.push({
      part: "clock",
      verdict: "warning",
      subjects: [],
      more: 0,
      advice: "clock-differs",
      values: { seconds: Math.abs(differs) },
      help: text("console-do-clock-differs"),
    });
  }
  const cards = ORDER.map((part) => [part, found.filter((one) => one.part === part)])
    .filter(([, mine]) => mine.length > 0)
    .map(([part, mine]) => [worst(mine), card(part, mine, TOLD[part](status, differs))]);
  return GRAVITY.flatMap((verdict) => cards.filter(([one]) => one === verdict).map(([, made]) => made));
}

// Puts the cards in their place. One on which nothing has changed stays, also for whoever is reading it aloud.
export function place(into, cards) {
  const before = new Map([...into.children].map((one) => [one.dataset.part, one]));
  const after = cards.map((made) => {
    const known = before.get(made.dataset.part);
    return known?.isEqualNode(made) ? known : made;
  });
  if (after.length !== into.children.length || after.some((one, at) => one !== into.children[at])) {
    into.replaceChildren(...after);
  }
}

const TOLD = {
  hsm: ({ condition }) => condition.hsms.flatMap((one) => hsm(one, condition)),
  readers: ({ desks }) => deskFacts(desks.filter((one) => one.kind === "local")),
  terminals: ({ findings }) => terminals(findings.filter((one) => one.part === "terminals")),
  ledger: ({ condition: { ledger } }) => facts([
    ["console-fact-entries", number(ledger.size)],
    ["console-fact-covered", number(ledger.checkpoint_size ?? 0)],
    ...failed(ledger, true),
  ]),
  copies: ({ condition: { ledger } }) => copies(ledger),
  revocation: ({ condition: { revocation } }) => revoked(revocation),
  certificates: ({ condition }) => certificates(condition),
  clock: (_, differs) => clock(Math.abs(differs) < CLOCKS_DIFFER ? 0 : differs),
};

function hsm(one, { serving, queued, hsms }) {
  const all = Object.values(one.workers).reduce((sum, count) => sum + count, 0);
  const ready = (one.workers.ready ?? 0) + (one.workers.busy ?? 0);
  const proofs = one.keys.map((key) => key.canary_at);
  const signed = proofs.length === 0 || proofs.includes(null) ? null : Math.min(...proofs);
  const failure = one.last_failure;
  return [
    ...(hsms.length > 1 ? [make("h4", {}, one.alias)] : []),
    ...facts([
      ["console-fact-state", text(`status-hsm-${one.state}`)],
      ...(hsms.length > 1
        ? [["console-fact-serves", text(one.alias === serving ? "console-fact-yes" : "console-fact-no")]]
        : []),
      ["console-fact-workers", text("console-fact-of", { number: ready, all })],
      ["console-fact-signed", signed === null ? text("console-fact-never") : time(signed)],
      ...(queued > 0 ? [["console-fact-queued", number(queued)]] : []),
      ...(failure === null ? [] : [["console-fact-failure", `${time(failure.at)} ${failure.code}`]]),
    ]),
  ];
}

function clock(differs) {
  return facts([["console-fact-clocks", text("console-fact-seconds", { number: number(differs) })]]);
}

function deskFacts(desks) {
  return facts(
    desks.slice(0, MOST_DESKS).map((one) => [
      "console-fact-desk",
      text("console-fact-since", { state: text(`status-desk-${one.state}`), time: time(one.since) }),
      { name: one.desk },
    ]),
  );
}

function terminals(found) {
  const count = (those) => those.reduce((sum, one) => sum + one.subjects.length + one.more, 0);
  const there = count(found.filter((one) => one.verdict === "ok"));
  return facts([["console-fact-there", text("console-fact-of", { number: there, all: count(found) })]]);
}

// What has failed of the ledger's own parts, or of the places for copies.
function failed({ failures }, isOwn) {
  return Object.entries(failures)
    .filter(([name]) => OWN.includes(name) === isOwn)
    .map(([name, times]) => {
      const words = SINKS.includes(name) ? text(`console-sink-${name}`) : name;
      return ["console-fact-failures", number(times), { name: words }];
    });
}

function copies(ledger) {
  const known = ledger.copies;
  if (!known.place) {
    return [];
  }
  return facts([
    ["console-fact-copied", number(known.covered)],
    ["console-fact-copied-at", known.at === null ? text("console-fact-not-since-start") : time(known.at)],
    ...failed(ledger, false),
  ]);
}

function revoked(known) {
  const sources = known.sources.map((one) => text(`console-source-${one}`)).join(", ");
  const asked = ["console-fact-sources", sources === "" ? text("console-fact-nobody") : sources];
  if (known.this_update === null || known.next_update === null) {
    return facts([asked]);
  }
  const until = Math.min(known.next_update, known.this_update + known.longest_age_hours * 3600);
  return facts([
    asked,
    ["console-fact-list", time(known.this_update)],
    ["console-fact-list-until", time(until)],
  ]);
}

function certificates({ certificates: known, time: at }) {
  const now = Date.parse(at) / 1000;
  return facts(
    [...known]
      .sort((one, other) => one.not_after - other.not_after)
      .slice(0, MOST_CERTIFICATES)
      .map((one) => {
        const days = Math.floor((one.not_after - now) / DAY);
        const key = days < 0 ? "console-fact-ended" : "console-fact-days";
        const value = text(key, { date: date(one.not_after), days: number(days) });
        return [null, value, { name: named(one.name) }];
      }),
  );
}
