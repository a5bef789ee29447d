// What pages say. Elements carry the key of their text, so that another language finds them again.

import { ask } from "./asking.js";

const LANGUAGES = ["ja", "en"];
const LOCALES = { ja: "ja-JP", en: "en-GB" };
const VALUES = new WeakMap();
const WORDS = new WeakMap();
let known = { language: preferred(), texts: {}, errors: {} };

// The language in the address, so that it can be kept as a bookmark; else what the browser asks for.
function preferred() {
  const asked = new URLSearchParams(location.search).get("language");
  const wanted = [asked, ...navigator.languages].map((one) => (one ?? "").slice(0, 2).toLowerCase());
  return wanted.find((one) => LANGUAGES.includes(one)) ?? "en";
}

export function language() {
  return known.language;
}

// The text under a key. A value may be a function, which is asked in every language anew.
export function text(key, values = {}) {
  const value = (name) => (typeof values[name] === "function" ? values[name]() : values[name]);
  const words = known.texts[key] ?? "";
  return words.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(value(name)) : whole));
}

// What is read about a failure: title, clerk, operator.
export function errorText(code) {
  return known.errors[code] ?? known.errors.internal ?? { title: code, clerk: code, operator: code };
}

// A day (ISO 8601), as people write it and as cards print it.
export function date(iso) {
  const day = new Date(`${iso}T00:00:00Z`);
  const written = (locale) => new Intl.DateTimeFormat(locale, { dateStyle: "long", timeZone: "UTC" }).format(day);
  const [western, era] = [written(LOCALES[known.language]), written("ja-JP-u-ca-japanese")];
  return known.language === "ja" ? `${era} (${western})` : `${western} (${era})`;
}

// A moment in this computer's time zone.
export function moment(when) {
  const how = { dateStyle: "medium", timeStyle: "medium" };
  return new Intl.DateTimeFormat(LOCALES[known.language], how).format(when);
}

// Says the text under a key in an element, now and in every language that follows.
export function say(element, key, values = {}) {
  element.dataset.text = key;
  VALUES.set(element, values);
  element.textContent = text(key, values);
  return element;
}

// Says in an element what a function returns, now and in every language that follows.
export function express(element, words) {
  element.dataset.words = "";
  WORDS.set(element, words);
  element.textContent = words();
  return element;
}

// Calls an element without words by the text under a key.
export function label(element, key, values = {}) {
  element.dataset.label = key;
  VALUES.set(element, values);
  element.setAttribute("aria-label", text(key, values));
  return element;
}

// Says everything below *root* in the present language.
export function retell(root) {
  for (const element of root.querySelectorAll("[data-text]")) {
    element.textContent = text(element.dataset.text, VALUES.get(element));
  }
  for (const element of root.querySelectorAll("[data-words]")) {
    element.textContent = WORDS.get(element)();
  }
  for (const element of root.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", text(element.dataset.label, VALUES.get(element)));
  }
}

// Gets the texts in a language, and says everything in it.
export async function speak(wanted = known.language) {
  known = await ask("GET", `/v1/texts?language=${wanted}`, { language: wanted });
  document.documentElement.lang = known.language;
  for (const element of document.querySelectorAll("[data-language]")) {
    element.setAttribute("aria-pressed", String(element.dataset.language === known.language));
  }
  retell(document);
  document.dispatchEvent(new Event("language"));
}

// Calls a function now and whenever the language has changed; returns what ends that.
export function told(listener) {
  document.addEventListener("language", listener);
  listener();
  return () => document.removeEventListener("language", listener);
}

// Makes the buttons with data-language change the language. Nothing is kept but the address of the page.
export function offerLanguages() {
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", async () => {
      const wanted = button.dataset.language;
      try {
        await speak(wanted);
        history.replaceState(null, "", `?language=${wanted}`);
      } catch {
        // Not reached: the page stays as it is, and whoever asks next says so.
      }
    });
  }
}
