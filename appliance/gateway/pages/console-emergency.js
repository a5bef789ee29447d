// Emergency windows: what is proposed or open, and the two persons' steps to it.

import { ask, Refused } from "./asking.js";
import { draw, paragraph, time } from "./console-words.js";
import { make } from "./elements.js";
import { errorText, text } from "./texts.js";

const PATH = "/v1/emergency-windows";
const HALF_HOUR = 0.5;
const MOST_DESKS = 16;
const PROPOSAL = "emergency-send";
// For so long what was filled in is the same proposal when it is sent again; by then the first one is over.
const SAME_SECONDS = 900;

export async function windows(seconds) {
  try {
    return await ask("GET", PATH, { seconds });
  } catch (error) {
    if (error instanceof Refused && error.problem.code === "resource_absent") {
      return null;
    }
    throw error;
  }
}

// The panel: its form is made once, so that nothing somebody has begun to fill in goes away.
export class Emergency {
  constructor(place, again) {
    this.again = again;
    this.about = make("p", { text: "console-emergency-about" });
    this.off = make("div", { id: "emergency-off" });
    this.list = make("div", { id: "emergency-list" });
    this.said = make("div", { id: "emergency-said", role: "status", tabindex: -1 });
    this.reason = make("select", { id: "emergency-reason" });
    this.hours = make("input", { id: "emergency-hours", type: "number", autocomplete: "off" });
    this.hoursName = make("label", { for: "emergency-hours" });
    this.desks = make("div", { class: "choices", on: { change: () => this.limit() } });
    this.form = make(
      "form",
      { on: { submit: (event) => this.propose(event) }, "aria-labelledby": "emergency-propose", novalidate: true },
      make("h3", { id: "emergency-propose", text: "console-emergency-propose" }),
      make("div", {}, make("label", { for: "emergency-reason", text: "console-emergency-reason" }), this.reason),
      make("div", {}, this.hoursName, this.hours),
      make("fieldset", {}, make("legend", { text: "console-emergency-which" }), this.desks),
      make("button", { type: "submit", id: PROPOSAL, text: "console-emergency-propose" }),
    );
    place.append(this.about, this.off, this.list, this.said, this.form);
    this.offered = "";
    this.known = null;
    // How the windows were when something was said of them; null before that.
    this.saidOf = null;
    // The buttons whose steps have no answer yet, and what was proposed last if that has none.
    this.underWay = new Set();
    this.proposed = null;
  }

  show(known, desks) {
    this.known = { ...known, seenAt: Date.now() };
    if (this.saidOf !== null && this.saidOf !== JSON.stringify(known.windows)) {
      this.unsay();
    }
    const isPossible = known.longest_hours > 0;
    this.form.hidden = !isPossible;
    draw(this.off, isPossible, () => (isPossible ? [] : [paragraph(text("console-emergency-off"))]));
    draw(this.list, known.windows, () => this.listed(known.windows));
    this.offer(known, desks.map((one) => one.desk));
  }

  // Has nothing there that may not be so any more.
  clear() {
    this.list.replaceChildren();
    this.unsay();
  }

  unsay() {
    this.said.replaceChildren();
    this.saidOf = null;
  }

  offer({ reasons, longest_hours: most }, desks) {
    const offered = JSON.stringify([reasons, most, desks]);
    if (offered === this.offered) {
      return;
    }
    this.offered = offered;
    const [reason, marked] = [this.reason.value, new Set(this.marked())];
    // Without any mark a window is for all desks: a mark never goes away by itself, also where its desk has gone.
    const choices = new Set([...desks, ...marked]);
    this.reason.replaceChildren(
      ...reasons.map((one) => make("option", { value: one, text: `emergency-reason-${one}` })),
    );
    this.reason.value = reasons.includes(reason) ? reason : reasons[0];
    this.hoursName.replaceChildren(make("span", { text: "console-emergency-hours", values: { most } }));
    Object.assign(this.hours, { min: HALF_HOUR, max: most, step: HALF_HOUR });
    this.hours.value = this.hours.value || Math.min(1, most);
    this.desks.replaceChildren(
      ...[...choices].map((desk, at) => {
        const mark = make("input", { type: "checkbox", id: `emergency-desk-${at}`, value: desk });
        mark.checked = marked.has(desk);
        return make("div", {}, mark, make("label", { for: mark.id }, desk));
      }),
    );
    this.limit();
  }

  // Lets nobody mark more desks than a window can name.
  limit() {
    const isFull = this.marked().length >= MOST_DESKS;
    for (const mark of this.desks.querySelectorAll("input")) {
      mark.disabled = isFull && !mark.checked;
    }
  }

  marked() {
    return [...this.desks.querySelectorAll("input:checked")].map((one) => one.value);
  }

  listed(shown) {
    return shown.length === 0 ? [make("p", { text: "console-emergency-none" })] : shown.map((one) => this.one(one));
  }

  one(shown) {
    const { id, state, reason, desks, until, yours } = shown;
    const isOpen = state === "open";
    const facts = [
      ["console-emergency-reason", text(`emergency-reason-${reason}`)],
      ["console-emergency-desks", desks.length === 0 ? text("console-emergency-all-desks") : desks.join(", ")],
      ["console-emergency-until", time(until)],
      ["console-emergency-by", shown.proposed_by],
      ...(isOpen ? [["console-emergency-confirmed-by", shown.confirmed_by]] : []),
      ...(shown.confirm_before === null ? [] : [["console-emergency-confirm-before", time(shown.confirm_before)]]),
    ];
    const act = (name, key, step) => {
      const button = `${name}-${id}`;
      const disabled = this.underWay.has(button);
      return make("button", {
        ...{ type: "button", id: button, text: key, values: { id }, disabled },
        on: { click: () => this.step(button, step) },
      });
    };
    const confirm = act("confirm", "console-emergency-confirm", {
      ...{ method: "POST", path: `/${id}/confirmation`, body: { confirm: true } },
      done: "console-emergency-confirmed-now",
    });
    const close = act("close", "console-emergency-close", {
      ...{ method: "DELETE", path: `/${id}` },
      done: "console-emergency-closed-now",
    });
    return make(
      "div",
      { class: `window ${state}`, "data-window": id },
      make("h3", { text: isOpen ? "console-emergency-open" : "console-emergency-proposed" }),
      make("dl", { class: "facts" }, ...facts.map(([key, value]) => fact(key, value))),
      ...(yours && !isOpen ? [make("p", { text: "console-emergency-yours" })] : []),
      make("p", { class: "steps" }, ...(yours || isOpen ? [] : [confirm]), close),
    );
  }

  async propose(event) {
    event.preventDefault();
    const { body, key } = this.proposal();
    const step = { method: "POST", path: "", body, key, done: "console-emergency-proposed-now" };
    if (await this.step(PROPOSAL, step)) {
      this.proposed = null;
    }
  }

  // What is filled in, and the key that it is sent under: the same ones again where they were sent without an answer.
  proposal() {
    const filled = JSON.stringify([this.reason.value, this.hours.value, this.marked()]);
    const at = performance.now();
    if (this.proposed?.filled !== filled || at - this.proposed.at > SAME_SECONDS * 1000) {
      const { now, seenAt } = this.known;
      const end = new Date(Date.parse(now) + (Date.now() - seenAt) + Number(this.hours.value) * 3_600_000);
      const until = Number.isNaN(end.getTime()) ? "" : `${end.toISOString().slice(0, 19)}Z`;
      const body = { reason: this.reason.value, until, desks: this.marked() };
      this.proposed = { filled, at, body, key: crypto.randomUUID() };
    }
    return this.proposed;
  }

  // Takes a step, once at a time for each *button*, and says what came of it. Returns whether it was answered.
  async step(button, { method, path, body, key, done }) {
    if (this.underWay.has(button)) {
      return false;
    }
    this.mark(button, true);
    let isAnswered = true;
    try {
      const { id } = await ask(method, `${PATH}${path}`, { body, key });
      this.said.replaceChildren(make("p", { text: done, values: { id } }));
    } catch (error) {
      isAnswered = error instanceof Refused;
      this.said.replaceChildren(...(isAnswered ? refused(error.problem) : [lost()]));
    }
    this.mark(button, false);
    this.said.focus();
    this.saidOf = null;
    await this.again();
    this.saidOf = JSON.stringify(this.known.windows);
    return isAnswered;
  }

  mark(button, isUnderWay) {
    this.underWay[isUnderWay ? "add" : "delete"](button);
    const shown = document.getElementById(button);
    if (shown !== null) {
      shown.disabled = isUnderWay;
    }
  }
}

function fact(key, value) {
  return make("div", {}, make("dt", { text: key }), make("dd", {}, value));
}

function lost() {
  return make("p", { class: "trouble", text: "page-connection-lost" });
}

function refused({ code }) {
  const said = errorText(code);
  return [
    make("p", { class: "trouble" }, said.title, " ", make("code", {}, code)),
    paragraph(said.operator),
  ];
}
