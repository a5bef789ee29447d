// Charts of a day, drawn as SVG. What they show is said in words beside them, and stands in a table.

import { hour, number } from "./console-words.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 900;
const HEIGHT = 220;
const LEFT = 44;
const RIGHT = 8;
const TOP = 10;
const BOTTOM = 24;
const HOURS_APART = 3;
const STEPS = [1, 2, 5];

function shape(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) {
    made.setAttribute(attribute, typeof value === "number" ? String(Math.round(value * 100) / 100) : value);
  }
  made.append(...children);
  return made;
}

// Returns a round distance between lines, so that there are four at most up to *most*.
function distance(most, least) {
  for (let power = least; ; power *= 10) {
    const fits = STEPS.map((step) => step * power).find((step) => most / step <= 4);
    if (fits !== undefined) {
      return fits;
    }
  }
}

class Frame {
  constructor({ begin, end }, up, down, least) {
    this.begin = begin;
    this.end = end;
    this.step = distance(Math.max(up, down), least);
    this.up = Math.max(1, Math.ceil(up / this.step)) * this.step;
    this.down = Math.ceil(down / this.step) * this.step;
    this.digits = this.step < 0.1 ? 2 : this.step < 1 ? 1 : 0;
  }

  x(at) {
    return LEFT + ((at - this.begin) / (this.end - this.begin)) * (WIDTH - LEFT - RIGHT);
  }

  y(value) {
    return TOP + ((this.up - value) / (this.up + this.down)) * (HEIGHT - TOP - BOTTOM);
  }

  // Lines and numbers to read values and times by.
  grid() {
    const made = [];
    for (let line = -Math.round(this.down / this.step); line <= Math.round(this.up / this.step); line += 1) {
      const value = line * this.step;
      const y = this.y(value);
      made.push(shape("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y, class: line === 0 ? "base" : "grid" }));
      made.push(shape("text", { x: LEFT - 6, y: y + 4, class: "value" }, number(Math.abs(value), this.digits)));
    }
    const first = new Date(this.begin * 1000);
    first.setHours(first.getHours() + 1, 0, 0, 0);
    for (const at = first; at.getTime() / 1000 < this.end; at.setHours(at.getHours() + 1)) {
      if (at.getHours() % HOURS_APART === 0) {
        const x = this.x(at.getTime() / 1000);
        made.push(shape("line", { x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM, class: "grid" }));
        made.push(shape("text", { x, y: HEIGHT - 6, class: "hour" }, hour(at.getTime())));
      }
    }
    return made;
  }
}

function drawing(id, ...content) {
  const attributes = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-labelledby": id, class: "chart" };
  return shape("svg", attributes, ...content);
}

// Bars: authenticated upwards; refused, and below that cancelled, downwards.
export function bars(id, span, stretches, seconds) {
  const up = Math.max(...stretches.map((one) => one.authenticated));
  const down = Math.max(...stretches.map((one) => one.refused + one.cancelled));
  const frame = new Frame(span, up, down, 1);
  const bar = (one, from, to, kind) => {
    const [x, end] = [frame.x(one.begin), frame.x(one.begin + seconds)];
    const [top, bottom] = [frame.y(Math.max(from, to)), frame.y(Math.min(from, to))];
    return shape("rect", { x, y: top, width: end - x, height: bottom - top, class: kind });
  };
  const drawn = stretches.flatMap((one) => [
    ...(one.authenticated > 0 ? [bar(one, 0, one.authenticated, "authenticated")] : []),
    ...(one.refused > 0 ? [bar(one, 0, -one.refused, "refused")] : []),
    ...(one.cancelled > 0 ? [bar(one, -one.refused, -one.refused - one.cancelled, "cancelled")] : []),
  ]);
  return drawing(id, ...frame.grid(), ...drawn);
}

// Points: the median as circles, what nineteen of twenty stay below as open diamonds; joined where stretches are neighbours.
export function points(id, span, stretches, seconds) {
  const frame = new Frame(span, Math.max(...stretches.map((one) => one.slow_seconds)), 0, 0.01);
  const middle = (one) => frame.x(one.begin + seconds / 2);
  const joined = (name) => {
    let path = "";
    stretches.forEach((one, at) => {
      const follows = at > 0 && one.begin - stretches[at - 1].begin === seconds;
      path += `${follows ? "L" : "M"}${middle(one).toFixed(1)} ${frame.y(one[name]).toFixed(1)}`;
    });
    return path;
  };
  const diamond = (one) => {
    const [x, y] = [middle(one), frame.y(one.slow_seconds)];
    return shape("path", { d: `M${x} ${y - 4}L${x + 4} ${y}L${x} ${y + 4}L${x - 4} ${y}Z`, class: "slow" });
  };
  return drawing(
    id,
    ...frame.grid(),
    shape("path", { d: joined("slow_seconds"), class: "slow-line" }),
    shape("path", { d: joined("median_seconds"), class: "median-line" }),
    ...stretches.map(diamond),
    ...stretches.map((one) => shape("circle", { cx: middle(one), cy: frame.y(one.median_seconds), r: 2.5, class: "median" })),
  );
}
