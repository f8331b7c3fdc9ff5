// One page for the printer: the result, the slice that says most, the numbers, and where they come from.

import { fillNumbers } from "./numbers.js";
import { filled, say } from "./slots.js";
import { pictures, show } from "./stage.js";
import { shownAs, sliceTitle } from "./viewer.js";
import { isForeign, sliceWords, seriesWords } from "./words.js";

/**
 * Make the report of a series anew, of the slice and as it is looked at.
 *
 * shown: {series, predictions, card, look, model, requestId, time (Date), colours}; look is the viewer's.
 */
export function writeReport(place, shown) {
  const { series, predictions, card, look, model } = shown;
  const { pixels } = look;
  const prediction = predictions[look.position];
  const title = sliceTitle(look.position, predictions.length);
  const said = seriesWords(series, predictions, card);
  place.replaceChildren(filled(document.getElementById("report-words"), {
    slice_name: title,
    shown_as: shownAs(pixels, look),
    overlay_name: `Evidence for ${card.names[look.className]}`,
    read: readWords(series, predictions),
    decisive: decisiveWords(series),
    run: model.run,
    exported: `${model.created.slice(0, 10)}, code ${model.code.slice(0, 12)}, ${model.precision}`,
    sha256: model.sha256,
    time: shown.time.toISOString().replace("T", " ").slice(0, 19) + " UTC",
    request: shown.requestId,
  }));
  const part = (name) => place.querySelector(`[data-part=${name}]`);

  const headline = document.createElement("div");
  const words = document.createElement("div");
  say(headline, "headline", said);
  say(words, "verdict", said);
  part("verdict").replaceChildren(headline, words);
  if (predictions.length > 1) {
    const slice = document.createElement("div");
    const name = document.createElement("h2");
    name.textContent = title;
    say(slice, "verdict", { ...sliceWords(prediction, card), not_suspected: "", none_stand: false });
    slice.prepend(name);
    part("verdict").append(slice);
  }

  const { original, overlay } = pictures(pixels, prediction.evidence_maps, look, shown.colours);
  show(part("original"), original);
  show(part("overlay"), overlay);

  const table = part("numbers");
  fillNumbers(table.createTHead(), table.createTBody(), prediction, series, card, predictions.length > 1);
}

function decisiveWords(series) {
  const { decisive, slices } = series;
  if (slices.length === 1) return "this slice alone";
  if (isForeign(series) || decisive.length === 0) return "no slice";
  return `slices ${decisive.map((at) => at + 1).join(", ")}`;
}

function readWords(series, predictions) {
  const kind = series.kind === "dicom" ? "a DICOM CT series" : "pictures";
  const slices = predictions.length === 1 ? "1 slice" : `${predictions.length} slices`;
  const more = [
    series.slice_mm ? `${series.slice_mm.toFixed(1)} mm apart` : "",
    series.plane ?? "",
    series.contrast ? "contrast agent named" : "",
  ].filter(Boolean);
  return [`${slices} of ${kind}`, ...more].join(", ");
}
