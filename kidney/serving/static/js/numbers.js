// The numbers beside the words: a table of probabilities with bars, and what else the model measured.

import { capitalised, isForeign, percent } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";

/** Fill the head and body of a table: classes by their probability on the slice, then of the series. */
export function fillNumbers(head, body, prediction, series, card, several) {
  head.replaceChildren(row("th", ["Class", "", "This slice", ...(several ? ["All slices"] : [])], "col"));
  const of = prediction.probabilities;
  const order = [...card.classes].sort((one, other) => of[other] - of[one]);
  body.replaceChildren(
    ...order.map((name, at) => {
      const texts = [percent(of[name]), ...(several ? [percent(series.probabilities[name])] : [])];
      const line = row("td", texts, null);
      const title = document.createElement("th");
      title.scope = "row";
      title.textContent = capitalised(card.names[name]);
      const cell = document.createElement("td");
      cell.className = "bar";
      cell.append(bar(of[name], card.rules.review_below));
      line.prepend(title, cell);
      if (at === 0) line.className = "first";
      return line;
    }),
  );
}

function row(kind, texts, scope) {
  const line = document.createElement("tr");
  for (const text of texts) {
    // A header cell without words would be announced as one.
    const cell = document.createElement(kind === "th" && !text ? "td" : kind);
    cell.textContent = text;
    if (kind === "td") cell.className = "number";
    if (scope && text) cell.scope = scope;
    line.append(cell);
  }
  return line;
}

function bar(share, reviewBelow) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 100 10");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const add = (name, attributes) => {
    const shape = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
    svg.append(shape);
  };
  add("rect", { class: "track", y: 2, width: 100, height: 6 });
  add("rect", { class: "value", y: 2, width: (100 * share).toFixed(2), height: 6 });
  if (reviewBelow > 0 && reviewBelow <= 1) {
    add("line", { x1: 100 * reviewBelow, x2: 100 * reviewBelow, y1: 0, y2: 10 });
  }
  return svg;
}

/** Say what the line in the bars means; "" where there is none. */
export function thresholdWords(card) {
  const from = card.rules.review_below;
  if (!(from > 0 && from <= 1)) return "";
  return `The line marks ${percent(from)}: an answer below it needs a radiologist.`;
}

/** Fill a <dl> with what the model measured beside the probabilities. */
export function fillMore(list, prediction, series, card) {
  const { ood_above: foreignAbove } = card.rules;
  const [height, width] = prediction.size;
  const facts = [["Size", `${width} × ${height} pixels`]];
  if (typeof prediction.ood_score === "number") {
    const limit = foreignAbove === null ? "" : `, foreign above ${foreignAbove.toFixed(2)}`;
    facts.push(["Unlikeness", `${prediction.ood_score.toFixed(2)}${limit}`]);
  }
  for (const name of Object.keys(card.rules.suspect_from)) {
    facts.push([`${capitalised(card.names[name])}`, `cannot be excluded from ${percent(card.rules.suspect_from[name])}`]);
  }
  if (series.slice_mm) facts.push(["Slice distance", `${series.slice_mm.toFixed(1)} mm`]);
  if (series.plane) facts.push(["Plane", series.plane]);
  if (series.contrast) facts.push(["Contrast agent", series.contrast]);
  if (isForeign(prediction)) facts.push(["Counts for the series", "no"]);
  list.replaceChildren(
    ...facts.flatMap(([name, text]) => {
      const term = document.createElement("dt");
      const said = document.createElement("dd");
      term.textContent = name;
      said.textContent = text;
      return [term, said];
    }),
  );
}
