// The viewer: one slice of a series at a time, its evidence, its words and its numbers.

import { radios, wheelAndSwipe, windowTools } from "./controls.js";
import { colourTable } from "./evidence.js";
import { fillMore, fillNumbers, thresholdWords } from "./numbers.js";
import { say } from "./slots.js";
import { hasEvidence, pictures, show, showLegend } from "./stage.js";
import { afterKey, nextSuspicious, within } from "./steps.js";
import { drawStrip, nameRows, stripSummary } from "./strip.js";
import { capitalised, isForeign, isSuspicious, needsReview, sliceWords } from "./words.js";

const by = (id) => document.getElementById(id);

/**
 * Return the viewer of this page.
 *
 * facts: {ramp, windows}. `open(series, predictions, store, card)` shows a series at its most telling
 * slice; `look()` tells what is shown: {position, className, opacity, window, pixels}.
 */
export function createViewer({ ramp, windows }) {
  const colours = colourTable(ramp);
  const look = { position: 0, className: "", opacity: 0.7, window: Object.values(windows)[0] };
  let now = null; // {series, predictions, store, card, mark, chosenClass}
  let shown = null; // pixels of the slice on the canvases
  let hidden = false; // the overlay, by key

  const showWindow = windowTools(windows, (chosen) => {
    look.window = chosen;
    draw();
  });

  function open(series, predictions, store, card) {
    shown = null;
    now = { series, predictions, store, card, chosenClass: null, mark: () => {} };
    const several = predictions.length > 1;
    const isDicom = Boolean(predictions[0].hounsfield);
    look.window = series.window ?? look.window;
    by("windows").hidden = !isDicom;
    by("no-windows").hidden = isDicom;
    showWindow(look.window);
    by("strip").hidden = !several;
    by("slice-verdict").hidden = !several;
    by("review-key").hidden = !predictions.some(needsReview);
    by("foreign-key").hidden = !predictions.some(isForeign);
    by("slice").max = predictions.length;
    const suspicious = predictions.some(isSuspicious);
    by("next-suspicious").disabled = by("previous-suspicious").disabled = !suspicious;
    if (several) {
      now.mark = drawStrip(by("chart"), predictions, card);
      by("chart").parentElement.style.maxWidth = `${predictions.length * 4 + 8}rem`;
      nameRows(by("chart-names"), card);
      nameDecisive(isForeign(series) ? [] : series.decisive);
      by("strip-summary").textContent = stripSummary(predictions, card);
    }
    go(series.decisive[0] ?? 0);
  }

  async function go(position) {
    const { predictions, store, card, series } = now;
    look.position = within(position, predictions.length);
    const prediction = predictions[look.position];
    const words = sliceWords(prediction, card);
    const title = sliceTitle(look.position, predictions.length);

    look.className = now.chosenClass ?? prediction.label;
    const pairs = card.classes.map((name) => [name, capitalised(card.names[name])]);
    radios(by("class-choices"), "class", pairs, look.className, chooseClass);
    by("slice").value = look.position + 1;
    by("slice").setAttribute("aria-valuetext", `${title}, ${outcomeWords(prediction, card)}`);
    by("viewer-title").textContent = title;
    by("slice-title").textContent = `${title}: ${outcomeWords(prediction, card)}`;
    say(by("slice-words"), "verdict", { ...words, none_stand: false }); // the series has it
    say(by("uncertainty"), "uncertainty", words);
    fillNumbers(by("numbers-head"), by("numbers"), prediction, series, card, predictions.length > 1);
    fillMore(by("more-numbers"), prediction, series, card);
    by("threshold").textContent = thresholdWords(card);
    by("threshold").hidden = !thresholdWords(card);
    now.mark(look.position);
    series.decisive.forEach((at, place) => {
      by("decisive").children[place]?.toggleAttribute("aria-current", at === look.position);
    });

    const pixels = await store(look.position);
    if (predictions !== now.predictions || predictions[look.position] !== prediction) return;
    shown = pixels;
    draw();
    by("stage").dataset.shown = look.position + 1;
    for (const near of [1, -1]) store(within(look.position + near, predictions.length));
  }

  function nameDecisive(decisive) {
    const buttons = decisive.map((at) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", className: "second", textContent: at + 1 });
      button.setAttribute("aria-label", sliceTitle(at, now.predictions.length));
      button.addEventListener("click", () => go(at));
      return button;
    });
    by("decisive").replaceChildren(...(buttons.length ? ["Slices that decide:", ...buttons] : []));
  }

  function chooseClass(name) {
    now.chosenClass = look.className = name;
    draw();
  }

  function draw() {
    if (!shown) return;
    const { card, predictions } = now;
    const maps = predictions[look.position].evidence_maps;
    const opacity = hidden ? 0 : look.opacity;
    const { original, overlay } = pictures(shown, maps, { ...look, opacity }, colours);
    show(by("original"), original);
    show(by("overlay"), overlay);
    showLegend(by("legend"), ramp, opacity);
    by("original-caption").textContent = shownAs(shown, look);
    const name = card.names[look.className];
    const speaks = hasEvidence(maps, look.className);
    by("scale").hidden = !speaks;
    by("overlay-caption").textContent = shown.lost
      ? "This file cannot be drawn here; its evidence is shown on black."
      : speaks ? `Evidence for ${name}` : `No place speaks for ${name}`;
    by("original").setAttribute("aria-label", sliceTitle(look.position, predictions.length));
    by("overlay").setAttribute("aria-label", by("overlay-caption").textContent);
  }

  function jump(direction) {
    const at = nextSuspicious(now.predictions, look.position, direction);
    if (at === null) return;
    go(at);
    by("announce").textContent =
      `${sliceTitle(at, now.predictions.length)}: ${outcomeWords(now.predictions[at], now.card)}.`;
  }

  function layout(name) {
    by("stage").dataset.layout = name;
    for (const input of by("layout").querySelectorAll("input")) input.checked = input.value === name;
  }

  by("layout").addEventListener("change", (event) => layout(event.target.value));
  if (matchMedia("(max-width: 34rem)").matches) layout("overlay");
  by("opacity").addEventListener("input", () => {
    look.opacity = by("opacity").valueAsNumber / 100;
    hidden = false;
    by("opacity-text").textContent = `${by("opacity").value} %`;
    draw();
  });
  by("slice").addEventListener("input", () => go(by("slice").valueAsNumber - 1));
  by("next-suspicious").addEventListener("click", () => jump(1));
  by("previous-suspicious").addEventListener("click", () => jump(-1));
  by("chart").addEventListener("pointerdown", pointAt);
  by("chart").addEventListener("pointermove", (event) => { if (event.buttons) pointAt(event); });
  function pointAt(event) {
    const box = by("chart").getBoundingClientRect();
    go(Math.floor(((event.clientX - box.left) / box.width) * now.predictions.length));
  }

  const stage = by("stage");
  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const key = event.key.toLowerCase();
    const to = afterKey(event.key, look.position, now.predictions.length);
    if (to !== null) go(to);
    else if (key === "n") jump(event.shiftKey ? -1 : 1);
    else if (key === "o") {
      hidden = !hidden;
      draw();
    } else return;
    event.preventDefault();
  });
  wheelAndSwipe(
    stage,
    (direction) => within(look.position + direction, now.predictions.length) !== look.position,
    (steps) => go(look.position + steps),
  );
  for (const canvas of [by("original"), by("overlay")]) {
    canvas.addEventListener("pointermove", (event) => {
      by("under-pointer").textContent = shown ? valueUnder(event, canvas, shown) : "";
    });
    canvas.addEventListener("pointerleave", () => { by("under-pointer").textContent = ""; });
  }
  return { open, look: () => ({ ...look, pixels: shown }), colours };
}

export function sliceTitle(position, count) {
  return count === 1 ? "The slice" : `Slice ${position + 1} of ${count}`;
}

/** Say how the greys of a slice came about. */
export function shownAs(pixels, look) {
  if (!pixels.hounsfield) return "As it was sent";
  const [center, width] = look.window.map(Math.round);
  return `Window of width ${width}, level ${center} HU`;
}

function outcomeWords(prediction, card) {
  if (isForeign(prediction)) return "not a kidney CT";
  if (needsReview(prediction)) return "a radiologist has to look";
  return `most probably ${card.names[prediction.label]}`;
}

function valueUnder(event, canvas, pixels) {
  const x = Math.floor((event.offsetX / canvas.clientWidth) * pixels.width);
  const y = Math.floor((event.offsetY / canvas.clientHeight) * pixels.height);
  const at = y * pixels.width + x;
  if (pixels.hounsfield) return at in pixels.hounsfield ? `${pixels.hounsfield[at]} HU` : "";
  return at in pixels.grey ? `grey ${pixels.grey[at]}` : "";
}
