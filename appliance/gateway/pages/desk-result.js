// How it ended: in colour and in words, what to do next, and what is asked on the phone.

import { make, show } from "./elements.js";
import { date, errorText, moment } from "./texts.js";

const METHODS = {
  face: "desk-by-face",
  visual: "desk-by-visual",
  pin: "desk-by-pin",
  none_emergency: "desk-by-emergency",
};
const ELIGIBILITY = {
  valid: ["good", "desk-eligibility-valid"],
  invalid: ["bad", "desk-eligibility-invalid"],
  unknown: ["warn", "desk-eligibility-unknown"],
};
const SIGNS = { good: "✓", bad: "✕", warn: "!" };
// Refusals that another try may change, beside those whose status says so; the last one is of an appliance that was
// started again meanwhile, so that nobody knows how it ended.
const AGAIN = new Set([
  ...["verification_number_invalid", "verification_number_rejected", "pin_rejected", "pin_cancelled"],
  ...["terminal_cancelled", "resource_absent"],
]);
// And those where another way is the better one.
const OTHERWISE = new Set(["pin_rejected", "pin_cancelled"]);
const LATER = new Set([408, 409, 429, 500, 503]);

// Of how it *ended*, what is shown: neither the token, nor who the person is, nor what the insurer says beyond its summary.
export function shown({ state, claims, problem, eligibility }) {
  const { identity_check, assurance, certificate, terminal } = claims ?? {};
  return {
    ...{ state, problem },
    claims: claims && { identity_check, assurance, certificate, terminal },
    eligibility: eligibility && {
      ...{ state: eligibility.state, summary: eligibility.summary },
      ...{ reference: eligibility.reference, problem: eligibility.problem },
    },
  };
}

// What an end comes to: its colour, the words for it, and whether trying again makes sense.
function verdict(ended) {
  if (ended.state === "authenticated") {
    const isEmergency = ended.claims?.identity_check?.method === "none_emergency";
    return isEmergency ? ["warn", "desk-result-emergency", false] : ["good", "desk-result-good", false];
  }
  if (ended.state === "cancelled") {
    return ["warn", "desk-result-cancelled", true];
  }
  const { code, status } = ended.problem;
  const canRepeat = AGAIN.has(code) || LATER.has(status);
  return canRepeat || status === undefined
    ? ["warn", "desk-result-unfinished", canRepeat]
    : ["bad", "desk-result-bad", false];
}

// A paragraph with what is read about a failure; it is found again in another language.
function failure(code, part) {
  return make("p", { words: () => errorText(code)[part] });
}

function banner(kind, text) {
  const sign = make("span", { class: "mark", "aria-hidden": "true" }, SIGNS[kind]);
  return make("div", { class: `banner ${kind}` }, sign, make("h2", { text }));
}

function row(key, words) {
  return make("div", {}, make("dt", { text: key }), make("dd", { words }));
}

function phone(code, request, time) {
  const rows = [row("page-code", () => code), row("page-time", () => moment(time))];
  if (request !== undefined) {
    rows.push(row("page-request", () => request));
  }
  return make("dl", { class: "phone" }, ...rows);
}

function success(ended) {
  const { claims } = ended;
  const by = claims.identity_check.operator ?? claims.identity_check.device ?? "";
  const parts = [make("p", { text: METHODS[claims.identity_check.method], values: { by, desk: claims.terminal } })];
  if (claims.assurance === "unchecked") {
    parts.push(make("p", { class: "note", text: "desk-unchecked" }));
  }
  if (claims.certificate.ends_soon) {
    const until = () => date(new Date(claims.certificate.not_after * 1000).toISOString().slice(0, 10));
    parts.push(make("p", { class: "note", text: "desk-certificate-ends", values: { until } }));
  }
  return parts;
}

function refusal({ problem }) {
  const parts = [failure(problem.code, "title")];
  if (problem.tries_left !== undefined) {
    parts.push(make("p", { class: "note", text: "desk-tries-left", values: { tries: problem.tries_left } }));
  }
  return parts;
}

function eligibility(answer) {
  if (answer === undefined || answer.state === "none") {
    return [];
  }
  if (answer.state !== "answered") {
    const { code } = answer.problem ?? { code: "eligibility_cancelled" };
    const called = make("dl", { class: "phone" }, row("page-code", () => code));
    return [strip("warn", "desk-eligibility-failed", [failure(code, "title"), failure(code, "clerk"), called])];
  }
  const [kind, key] = ELIGIBILITY[answer.summary] ?? ELIGIBILITY.unknown;
  const reference =
    answer.reference === undefined
      ? []
      : [make("p", { text: "desk-eligibility-reference", values: { reference: answer.reference } })];
  return [strip(kind, key, reference)];
}

function strip(kind, key, content) {
  const heading = make("h3", { text: key });
  return make("section", { class: `strip ${kind}` }, make("p", { text: "desk-eligibility" }), heading, ...content);
}

// Marks what is said of a person who was authenticated, to be found again by `forgetPerson`.
function personal(parts, { state }) {
  if (state === "authenticated") {
    parts.forEach((part) => part.classList.add("person"));
  }
  return parts;
}

function next(ended) {
  const heading = make("h3", { text: "desk-next" });
  if (ended.state === "authenticated") {
    return [heading, make("p", { text: "desk-next-good" })];
  }
  if (ended.state === "cancelled" && ended.problem === undefined) {
    return [heading, make("p", { text: "desk-next-cancelled" })];
  }
  return [heading, failure(ended.problem.code, "clerk")];
}

// Takes what is said of a person off the page: how the check ended stays, and what is asked on the phone.
export function forgetPerson(place) {
  const parts = place.querySelectorAll(".result .person");
  parts[0]?.replaceWith(make("p", { text: "desk-forgotten" }));
  parts.forEach((part) => part.remove());
}

// Shows how it *ended*, and returns whether the same is to be tried again.
export function result(place, check, ended) {
  const [kind, words, canRepeat] = verdict(ended);
  const about = ended.state === "authenticated" ? success(ended) : ended.problem === undefined ? [] : refusal(ended);
  const code = ended.problem?.code ?? ended.state;
  return new Promise((answered) => {
    const button = (key, look, value) =>
      make("button", { type: "button", class: look, text: key, on: { click: () => answered(value) } });
    const repeat = canRepeat && check !== null ? [button("desk-again", OTHERWISE.has(code) ? "" : "main", true)] : [];
    const isMain = repeat.length === 0 || OTHERWISE.has(code);
    const leave = ended.state === "authenticated" ? "desk-next-person" : "desk-from-start";
    const end = button(leave, isMain ? "main" : "", false);
    const buttons = isMain ? [end, ...repeat] : [...repeat, end];
    show(
      place,
      make(
        "section",
        { class: `sheet result ${kind}`, "data-code": code },
        banner(kind, words),
        ...personal([...about, ...eligibility(ended.eligibility)], ended),
        ...next(ended),
        phone(code, ended.problem?.request_id ?? ended.request, new Date()),
        make("div", { class: "buttons" }, ...buttons),
      ),
    );
  });
}
