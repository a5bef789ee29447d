// Making elements. Text comes by its key alone; what the appliance sends is put in as text, never as markup.

import { express, retell, say } from "./texts.js";

// Makes an element: attributes by name, then what is in it. `text` is the key of its words and `values` what goes into
// them, or `words` a function that returns them; `on` holds listeners.
export function make(name, { text, values, words, on = {}, ...attributes } = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value === true) {
      made.setAttribute(attribute, "");
    } else if (value !== false && value !== undefined) {
      made.setAttribute(attribute, value);
    }
  }
  for (const [event, listener] of Object.entries(on)) {
    made.addEventListener(event, listener);
  }
  if (text !== undefined) {
    say(made, text, values);
  }
  if (words !== undefined) {
    express(made, words);
  }
  made.append(...children);
  return made;
}

// Puts a step in the place of what is shown, and leads the reader to its heading.
export function show(place, ...content) {
  place.replaceChildren(...content);
  // What was made a while ago may speak another language.
  retell(place);
  const heading = place.querySelector("h2");
  if (heading !== null) {
    heading.tabIndex = -1;
    heading.focus();
  }
}

// Says at the top whether the appliance is reached.
export function connection(isLost) {
  const banner = document.querySelector(".connection");
  if (banner.hasChildNodes() !== isLost) {
    banner.replaceChildren(...(isLost ? [make("p", { text: "page-connection-lost" })] : []));
  }
}
