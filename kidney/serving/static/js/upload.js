// The form: choose or drop files, send them, see how far it is, stop it; an error loses nothing.

import { droppedFiles, sizeWords, withoutHidden } from "./files.js";
import { fetchFile, Problem, send } from "./send.js";
import { say } from "./slots.js";

const by = (id) => document.getElementById(id);

/** Let the form send by itself. onAnswer({answer, requestId}, files) is called with each answer. */
export function startUpload(onAnswer) {
  const form = by("send");
  let files = [];
  let running = null;

  for (const part of form.querySelectorAll(".for-script")) part.hidden = false;
  form.classList.add("with-script");
  by("read").disabled = true;
  by("file").required = false;

  function choose(chosen) {
    files = withoutHidden(chosen);
    const names = files.slice(0, 3).map((file) => file.name);
    const bytes = files.reduce((sum, file) => sum + file.size, 0);
    by("chosen").hidden = files.length === 0;
    by("chosen-count").textContent =
      `${files.length} ${files.length === 1 ? "file" : "files"}, ${sizeWords(bytes)}`;
    by("chosen-names").textContent = names.join(", ") + (files.length > 3 ? " and more" : "");
    by("read").disabled = files.length === 0;
    hideProblem();
  }

  for (const [button, input] of [["choose-files", "file"], ["choose-folder", "folder"], ["choose-camera", "camera"]]) {
    by(button).addEventListener("click", () => by(input).click());
    by(input).addEventListener("change", () => {
      if (by(input).files.length) choose([...by(input).files]);
    });
  }
  if (by("file").files.length) choose([...by("file").files]); // chosen before this script came
  by("forget").addEventListener("click", () => {
    form.reset();
    choose([]);
    by("choose-files").focus();
  });
  by("sample").addEventListener("click", async () => {
    if (running) return;
    try {
      choose([await fetchFile(by("sample").dataset.series)]);
      form.requestSubmit();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      showProblem(error.words);
    }
  });
  by("cancel").addEventListener("click", () => running?.abort());
  acceptDrops(by("drop"), choose);

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (running || files.length === 0) return;
    const sent = files; // others may be chosen while these are on their way
    running = new AbortController();
    hideProblem();
    showProgress(0);
    form.setAttribute("aria-busy", "true");
    by("read").disabled = true;
    by("cancel").focus();
    try {
      await onAnswer(await send(sent, showProgress, running.signal), sent);
    } catch (error) {
      if (error instanceof Problem) showProblem(error.words);
      else if (error.name === "AbortError") by("choose-files").focus();
      else throw error;
    } finally {
      running = null;
      by("progress").hidden = true;
      form.removeAttribute("aria-busy");
      by("read").disabled = files.length === 0;
    }
  });
}

function acceptDrops(zone, choose) {
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      zone.classList.add("over");
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) zone.classList.remove("over");
  });
  document.addEventListener("drop", async (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    zone.classList.remove("over");
    const files = await droppedFiles(event.dataTransfer);
    if (files.length && !zone.closest("[hidden]")) choose(files);
  });
}

function showProgress(share) {
  const bar = by("progress-bar");
  by("progress").hidden = false;
  if (share < 1) {
    bar.value = share;
    by("progress-text").textContent = `Sending: ${Math.floor(share * 100)} %`;
  } else {
    bar.removeAttribute("value"); // how long the model takes is not known
    by("progress-text").textContent = "Sent. The model reads the slices.";
  }
}

function showProblem(words) {
  say(by("problem"), "problem", words);
  by("problem").hidden = false;
  by("problem").focus();
}

function hideProblem() {
  by("problem").hidden = true;
}
