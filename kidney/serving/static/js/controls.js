// The tools beside the slices: class of the evidence, opacity, window, layout.

import { capitalised } from "./words.js";

const by = (id) => document.getElementById(id);

/** Make radio buttons out of [value, text] pairs; onChoice(value) is called with each choice. */
export function radios(place, name, pairs, chosen, onChoice) {
  place.replaceChildren(
    ...pairs.map(([value, text]) => {
      const label = document.createElement("label");
      const input = document.createElement("input");
      const words = document.createElement("span");
      Object.assign(input, { type: "radio", name, value, checked: value === chosen });
      words.textContent = text;
      label.append(input, words);
      input.addEventListener("change", () => onChoice(value));
      return label;
    }),
  );
}

/** The presets of windows and two numbers. Returns a function that shows a window as chosen. */
export function windowTools(presets, onWindow) {
  const pairs = Object.keys(presets).map((name) => [name, capitalised(name)]);
  const center = by("window-center");
  const width = by("window-width");

  function showChosen(chosen) {
    [center.value, width.value] = chosen.map((number) => Math.round(number));
    for (const input of by("window-choices").querySelectorAll("input")) {
      input.checked = String(presets[input.value]) === String(chosen);
    }
  }
  function choose(chosen) {
    showChosen(chosen);
    onWindow(chosen);
  }
  radios(by("window-choices"), "window", pairs, null, (name) => choose(presets[name]));
  for (const input of [center, width]) {
    input.oninput = () => {
      const chosen = [center.valueAsNumber, width.valueAsNumber];
      if (!chosen.every(Number.isFinite) || chosen[1] <= 1) return; // not typed to its end yet
      onWindow(chosen);
      for (const one of by("window-choices").querySelectorAll("input")) {
        one.checked = String(presets[one.value]) === String(chosen);
      }
    };
  }
  return showChosen;
}

/** Call move(steps) for the wheel and for swipes over an element. Ends let the page scroll on. */
export function wheelAndSwipe(stage, canMove, move) {
  const PIXELS_A_SLICE = 28;
  let turned = 0;
  stage.addEventListener("wheel", (event) => {
    if (event.ctrlKey || !canMove(Math.sign(event.deltaY))) return; // ctrl: the browser's zoom
    event.preventDefault();
    turned += event.deltaMode === 0 ? event.deltaY : event.deltaY * PIXELS_A_SLICE;
    const steps = Math.trunc(turned / PIXELS_A_SLICE);
    turned -= steps * PIXELS_A_SLICE;
    if (steps) move(steps);
  }, { passive: false });

  let from = null;
  stage.addEventListener("pointerdown", (event) => { from = event.clientX; });
  stage.addEventListener("pointermove", (event) => {
    if (from === null || event.pointerType === "mouse" && event.buttons === 0) return;
    const steps = Math.trunc((from - event.clientX) / PIXELS_A_SLICE);
    if (steps === 0) return;
    from -= steps * PIXELS_A_SLICE;
    move(steps);
  });
  for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => { from = null; });
}
