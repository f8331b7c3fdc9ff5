// The chart under the slices: one column a slice, one row a finding, and marks for what needs a look.

import { capitalised, findings, isForeign, needsReview } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const MARKS = 14; // height of the row of marks, in units of the chart
const ROW = 36;
const GAP = 4;

/** Draw the chart of predictions into an <svg>; returns a function that marks the slice shown. */
export function drawStrip(svg, predictions, card) {
  const count = predictions.length;
  const names = findings(card);
  const height = MARKS + names.length * (ROW + GAP);
  svg.setAttribute("viewBox", `0 0 ${count} ${height}`);
  const shapes = names.flatMap((name, row) => rowOf(name, MARKS + row * (ROW + GAP) + GAP, predictions, card));
  predictions.forEach((prediction, at) => {
    if (isForeign(prediction)) shapes.push(rect("foreign", at, GAP + MARKS, 1, height - MARKS - GAP));
    else if (needsReview(prediction)) shapes.push(rect("review", at + 0.1, 5, 0.8, 5));
  });
  const here = rect("here", 0, 0, 1, height);
  svg.replaceChildren(...shapes, here);
  return (position) => here.setAttribute("x", position);
}

function rowOf(name, top, predictions, card) {
  const from = card.rules.suspect_from[name];
  const bars = predictions.map((prediction, at) => {
    const tall = Math.max(0.5, prediction.probabilities[name] * ROW);
    const kind = prediction.suspected.includes(name) && !isForeign(prediction) ? "suspected" : "other";
    return rect(kind, at + 0.08, top + ROW - tall, 0.84, tall);
  });
  const ground = rect("ground", 0, top, predictions.length, ROW);
  const point = element("line", { class: "point", x1: 0, x2: predictions.length, y1: top + ROW * (1 - from), y2: top + ROW * (1 - from) });
  return [ground, ...bars, point];
}

/** Write the names of the rows beside the chart. */
export function nameRows(place, card) {
  place.replaceChildren(
    ...findings(card).map((name) => {
      const row = document.createElement("span");
      row.textContent = capitalised(card.names[name].replace(/ \(.*\)/, ""));
      return row;
    }),
  );
}

/** Return the chart in one sentence for each finding, for those who do not see it. */
export function stripSummary(predictions, card) {
  return findings(card)
    .map((name) => {
      const on = predictions.flatMap((prediction, at) =>
        prediction.suspected.includes(name) && !isForeign(prediction) ? [at + 1] : []);
      const where = on.length ? `cannot be excluded on slices ${ranges(on)}` : "not suspected on any slice";
      return `${capitalised(card.names[name])}: ${where}.`;
    })
    .join(" ");
}

/** Return rising numbers as text with runs drawn together: 1, 4 to 7. */
export function ranges(numbers) {
  const runs = [];
  for (const number of numbers) {
    const last = runs.at(-1);
    if (last && last[1] === number - 1) last[1] = number;
    else runs.push([number, number]);
  }
  return runs.map(([first, last]) => (first === last ? `${first}` : `${first} to ${last}`)).join(", ");
}

function rect(kind, x, y, width, height) {
  return element("rect", { class: kind, x, y, width, height });
}

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
