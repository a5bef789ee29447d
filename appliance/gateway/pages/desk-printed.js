// What is printed on the card and opens its front: birth date, year of expiry, security code. And who compares.

import { make, show } from "./elements.js";
import { say } from "./texts.js";

// Eras as cards print them: the year before their first, and their first and last day.
const ERAS = {
  western: ["desk-era-western", 0, "1900-01-01", "2100-12-31"],
  reiwa: ["desk-era-reiwa", 2018, "2019-05-01", "2100-12-31"],
  heisei: ["desk-era-heisei", 1988, "1989-01-08", "2019-04-30"],
  showa: ["desk-era-showa", 1925, "1926-12-25", "1989-01-07"],
  taisho: ["desk-era-taisho", 1911, "1912-07-30", "1926-12-24"],
};
const NUMBER = /^[0-9]{1,4}$/;
// How long what is typed stays while nobody types on.
const IDLE_SECONDS = 120;

// Full-width digits, as a Japanese keyboard types them, count as digits.
function typed(input) {
  return input.value.normalize("NFKC").trim();
}

// The day as ISO 8601 writes it, or null where there is no such day in the era, or it has not come yet.
export function day(era, year, month, date) {
  if (![year, month, date].every((one) => NUMBER.test(one))) {
    return null;
  }
  const [, before, first, last] = ERAS[era];
  const parts = [before + Number(year), Number(month), Number(date)];
  const iso = parts.map((one, index) => String(one).padStart(index === 0 ? 4 : 2, "0")).join("-");
  const parsed = new Date(`${iso}T00:00:00Z`);
  const exists = !Number.isNaN(parsed.valueOf()) && parsed.toISOString().startsWith(iso);
  return exists && first <= iso && iso <= last && parsed <= new Date() ? iso : null;
}

function field(id, key, options = {}) {
  const input = make("input", {
    id,
    type: "text",
    inputmode: "numeric",
    autocomplete: "off",
    spellcheck: "false",
    size: options.digits,
    maxlength: options.digits,
  });
  input.value = options.value ?? "";
  const box = make("div", { class: "field" }, make("label", { for: id, text: key }), input);
  return { input, box };
}

function select(id, key, options, value) {
  const input = make("select", { id, autocomplete: "off" }, ...options);
  input.value = value;
  return { input, box: make("div", { class: "field" }, make("label", { for: id, text: key }), input) };
}

function operatorChoice(operators, here) {
  const known = operators.includes(here.operator) ? here.operator : operators.length === 1 ? operators[0] : "";
  const empty = known === "" ? [make("option", { value: "", text: "desk-operator-choose" })] : [];
  const names = operators.map((one) => make("option", { value: one }, one));
  return select("operator", "desk-operator", [...empty, ...names], known);
}

// Returns what was typed, with `printed` as the appliance takes it; null where the clerk goes back, or has gone away.
export function enter(place, operators, here, entries) {
  const known = { era: "showa", ...entries };
  const operator = operatorChoice(operators, here);
  const eras = Object.entries(ERAS).map(([era, [key]]) => make("option", { value: era, text: key }));
  const era = select("era", "desk-era", eras, known.era);
  const year = field("birth-year", "desk-birth-year", { digits: 4, value: known.year });
  const month = field("birth-month", "desk-birth-month", { digits: 2, value: known.month });
  const date = field("birth-day", "desk-birth-day", { digits: 2, value: known.date });
  const expiry = field("expiry-year", "desk-expiry-year", { digits: 4, value: known.expiry });
  const code = field("security-code", "desk-security-code", { digits: 4, value: known.code });
  const wrong = make("div", { role: "alert", id: "wrong" });
  const dated = make("div", { class: "row" }, era.box, year.box, month.box, date.box);
  const birth = make("fieldset", {}, make("legend", { text: "desk-birth" }), dated);

  return new Promise((ended) => {
    let idle = null;
    const answered = (entered) => {
      clearTimeout(idle);
      ended(entered);
    };
    const wait = () => {
      clearTimeout(idle);
      idle = setTimeout(() => answered(null), IDLE_SECONDS * 1000);
    };
    const submit = (event) => {
      event.preventDefault();
      const [y, m, d] = [year, month, date].map((one) => typed(one.input));
      const born = day(era.input.value, y, m, d);
      const checks = [
        [operator.input, operator.input.value !== "", "desk-wrong-operator"],
        [year.input, born !== null, "desk-wrong-birth"],
        [expiry.input, /^20[0-9]{2}$/.test(typed(expiry.input)), "desk-wrong-expiry"],
        [code.input, /^[0-9]{4}$/.test(typed(code.input)), "desk-wrong-code"],
      ];
      if (complain(checks, wrong)) {
        return;
      }
      here.operator = operator.input.value;
      answered({
        era: era.input.value,
        year: y,
        month: m,
        date: d,
        expiry: typed(expiry.input),
        code: typed(code.input),
        printed: { birth: born, expiry_year: Number(typed(expiry.input)), security_code: typed(code.input) },
      });
    };
    const back = make("button", { type: "button", text: "desk-back", on: { click: () => answered(null) } });
    const go = make("button", { type: "submit", class: "main", text: "desk-read" });
    const rest = make("div", { class: "row" }, expiry.box, code.box);
    const form = make(
      "form",
      { class: "sheet", autocomplete: "off", novalidate: true, on: { submit, input: wait } },
      make("h2", { text: "desk-printed" }),
      make("p", { text: "desk-printed-about" }),
      wrong,
      operator.box,
      birth,
      rest,
      make("div", { class: "buttons" }, go, back),
    );
    show(place, form);
    wait();
  });
}

// Says what is wrong at the first place where something is, and leads there. Returns whether something is.
function complain(checks, wrong) {
  const first = checks.find(([, isRight]) => !isRight);
  for (const [input] of checks) {
    input.removeAttribute("aria-invalid");
    input.removeAttribute("aria-describedby");
  }
  wrong.replaceChildren();
  if (first === undefined) {
    return false;
  }
  const [input, , key] = first;
  wrong.append(say(make("p", { class: "wrong" }), key));
  input.setAttribute("aria-invalid", "true");
  input.setAttribute("aria-describedby", wrong.id);
  input.focus();
  return true;
}
