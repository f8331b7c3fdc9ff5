// The page: files in, result out. Everything else is in the modules named here.

import { startFeedback } from "./feedback.js";
import { pixelStore } from "./pixels.js";
import { writeReport } from "./report.js";
import { BASE, modelCard } from "./send.js";
import { say } from "./slots.js";
import { startUpload } from "./upload.js";
import { createViewer } from "./viewer.js";
import { seriesWords } from "./words.js";

const by = (id) => document.getElementById(id);
const RESULT = "result"; // the state of its entry in the history
const { title } = document;
const { ramp, windows } = by("main").dataset;
const viewer = createViewer({ ramp: JSON.parse(ramp), windows: Object.fromEntries(JSON.parse(windows)) });
const askFor = startFeedback(by("feedback"), () => viewer.look().position);
let shown = null; // {series, predictions, store, card, model, requestId, time}

startUpload(async ({ answer, requestId }, files) => {
  const card = await modelCard();
  const time = new Date();
  const all = answer.series.map((series, number) => {
    const predictions = series.slices.map((at) => answer.predictions[at]);
    // Decisive slices are indices into the response; here they count within their series.
    const decisive = series.decisive.map((at) => series.slices.indexOf(at));
    const store = pixelStore(predictions, files);
    const common = { predictions, store, card, model: answer.model, result: answer.result, number, requestId, time };
    return { ...common, series: { ...series, decisive } };
  });
  offer(all);
  by("upload").hidden = true;
  by("result").hidden = false;
  document.body.classList.add("with-result");
  open(all[0]);
  history.pushState(RESULT, ""); // going back leads to the form, not away
  scrollTo(0, 0);
  by("series-headline").focus();
});

function offer(all) {
  by("series-choice").hidden = all.length < 2;
  by("series").replaceChildren(...all.map(({ predictions, series }, at) => {
    const kind = series.kind === "dicom" ? "DICOM" : "pictures";
    return new Option(`${at + 1} of ${all.length}: ${predictions.length} slices, ${kind}`, at);
  }));
  by("series").onchange = () => open(all[by("series").value]);
}

function open(chosen) {
  shown = chosen;
  const words = seriesWords(chosen.series, chosen.predictions, chosen.card);
  say(by("series-headline"), "headline", words);
  say(by("series-words"), "verdict", words);
  say(by("series-reminder"), "reminder", words);
  by("series-verdict").dataset.state = words.sure ? "sure" : words.unsure ? "unsure" : "foreign";
  by("result").dataset.state = by("series-verdict").dataset.state;
  document.title = `${by("series-headline").textContent.trim()} · Kidney Tumor Identification`;
  viewer.open(chosen.series, chosen.predictions, chosen.store, chosen.card);
  askFor(chosen.result, chosen.number, chosen.series);
  by("report").hidden = false;
}

function report() {
  const look = viewer.look();
  if (shown && look.pixels) writeReport(by("report"), { ...shown, look, colours: viewer.colours });
}

by("print").addEventListener("click", () => print());
addEventListener("beforeprint", report);

function showForm() {
  by("result").hidden = by("report").hidden = true;
  by("upload").hidden = false;
  document.body.classList.remove("with-result");
  document.title = title;
  shown = null;
  by("choose-files").focus();
}

by("again").addEventListener("click", () => {
  history.replaceState("", "");
  showForm();
});
addEventListener("popstate", ({ state }) => {
  if (state !== RESULT && !location.hash) showForm(); // a hash: a step within the result
});

navigator.serviceWorker?.register(`${BASE}service-worker.js`);
