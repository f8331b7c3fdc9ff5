// What a reader says of the result that is shown, to the server.

import { BASE, Problem } from "./send.js";

const ADDRESS = `${BASE}api/v1/feedback`;

/** Start the form, where the server takes feedback; returns a function that binds it to a result. */
export function startFeedback(form, position) {
  if (!form) return () => {};
  const { verdict, label, slices } = form.elements;
  const status = document.getElementById("feedback-status");
  let of = null; // {result, series}
  form.addEventListener("change", () => {
    document.getElementById("feedback-class").hidden = verdict.value !== "disagree";
  });
  document.getElementById("feedback-this").addEventListener("click", () => {
    slices.value = [slices.value.trim(), position() + 1].filter(Boolean).join(", ");
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const agree = verdict.value === "agree";
    const told = { ...of, verdict: verdict.value, slices: positions(slices.value) };
    status.textContent = "Sending";
    try {
      await post(agree ? told : { ...told, label: label.value });
      status.textContent = "Noted. Thank you.";
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      status.textContent = `${error.words.title}. ${error.words.detail}`;
    }
  });
  return (result, series, { label: own, slices: all }) => {
    form.closest("section").hidden = !result;
    of = { result, series };
    form.reset();
    status.textContent = "";
    document.getElementById("feedback-class").hidden = true;
    document.getElementById("feedback-slices").hidden = all.length < 2;
    for (const option of label.options) option.disabled = option.value === own;
    label.value = [...label.options].find((option) => !option.disabled).value;
  };
}

/** Return the positions in a text such as 3, 5-9. */
export function positions(text) {
  return text.split(",").filter((part) => part.trim()).flatMap((part) => {
    const [first, last = first] = part.split("-").map(Number);
    return Array.from({ length: Math.max(0, Math.min(last - first + 1, 10_000)) }, (_, at) => first + at);
  });
}

async function post(body) {
  const token = document.querySelector("meta[name=csrf-token]")?.content;
  const response = await fetch(ADDRESS, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...(token && { "X-CSRF-Token": token }) },
    body: JSON.stringify(body),
  }).catch(() => null);
  if (response?.ok) return;
  const problem = await response?.json().catch(() => null);
  throw new Problem(problem?.title ? problem : { title: "Not sent", detail: "Try again." });
}
