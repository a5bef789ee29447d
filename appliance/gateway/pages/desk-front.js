// The front of the card beside the person, for as long as somebody decides, and no longer.

import { make, show } from "./elements.js";
import { date, say } from "./texts.js";

const SEX = { 1: "desk-sex-male", 2: "desk-sex-female", 9: "desk-sex-other" };
const WARNING_SECONDS = 30;
let ticking = null;

function picture(name, content) {
  const image = make("img", { class: name, draggable: "false" });
  image.src = `data:image/png;base64,${content}`;
  return image;
}

function named(image, key) {
  // The words belong to the figure; the image alone says nothing.
  image.alt = "";
  return make("figure", {}, make("figcaption", { text: key }), image);
}

function fact(key, how) {
  return make("div", {}, make("dt", { text: key }), make("dd", how));
}

// Shows *front* for *seconds*, and tells *decide* whether it is the same person; or *cancel*, where nobody can say.
export function compare(place, front, seconds, { decide, cancel }) {
  const end = performance.now() + seconds * 1000;
  const left = make("p", { class: "left" });
  const soon = make("div", { role: "status" });
  const facts = make(
    "dl",
    { class: "facts" },
    fact("desk-front-birth", { words: () => date(front.birth) }),
    fact("desk-front-sex", { text: SEX[front.sex] ?? SEX[9] }),
    fact("desk-front-expires", { words: () => date(front.expires) }),
  );
  const texts = make(
    "div",
    { class: "texts" },
    named(picture("name", front.name_png), "desk-front-name"),
    named(picture("address", front.address_png), "desk-front-address"),
    facts,
  );
  const answer = (key, samePerson, look) =>
    make("button", { type: "button", class: look, text: key, on: { click: () => decide(samePerson) } });
  const stop = make("button", { type: "button", text: "desk-cancel", on: { click: cancel } });
  show(
    place,
    make(
      "section",
      { class: "sheet front" },
      make("h2", { text: "desk-compare" }),
      make("p", { text: "desk-compare-about" }),
      make("div", { class: "card" }, named(picture("photo", front.photo_png), "desk-front-photo"), texts),
      soon,
      make(
        "div",
        { class: "buttons" },
        answer("desk-same", true, "main"),
        answer("desk-not-same", false, "no"),
        stop,
        left,
      ),
    ),
  );
  const tick = () => {
    const whole = Math.max(0, Math.ceil((end - performance.now()) / 1000));
    say(left, "desk-seconds-left", { seconds: whole });
    if (whole <= WARNING_SECONDS && !soon.hasChildNodes()) {
      soon.append(make("p", { class: "note", text: "desk-decide-soon" }));
    }
  };
  tick();
  ticking = setInterval(tick, 1000);
}

// Takes the front off the page, pixels and all.
export function forget(place) {
  clearInterval(ticking);
  for (const image of place.querySelectorAll(".front img")) {
    image.removeAttribute("src");
  }
  place.querySelector(".front")?.remove();
}
