// Files to the server, with progress and a way to stop. fetch tells no progress of an upload.

/** Where the server begins: a proxy may put a prefix before it. */
export const BASE = new URL("../../", import.meta.url).pathname;
const ADDRESS = `${BASE}api/v1/predictions?evidence=maps&pixels=png`;

/** An error in words: the members of problem+json that people read. */
export class Problem extends Error {
  constructor({ title, detail, remedy = "", request_id = "" }) {
    super(title);
    this.words = { title, detail, remedy, request_id };
  }
}

/**
 * Send files and return {answer, requestId}.
 *
 * onProgress(share) is called with 0 to 1 of what was sent; `signal` stops it (AbortError).
 * Throws Problem where there is no answer.
 */
export function send(files, onProgress, signal) {
  const form = new FormData();
  for (const file of files) form.append("file", file, file.name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", ADDRESS);
    request.responseType = "json";
    const token = document.querySelector("meta[name=csrf-token]")?.content;
    if (token) request.setRequestHeader("X-CSRF-Token", token);
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    });
    request.addEventListener("error", () => reject(new Problem(UNREACHABLE)));
    request.addEventListener("abort", () => reject(new DOMException("stopped", "AbortError")));
    request.addEventListener("load", () => {
      const requestId = request.getResponseHeader("X-Request-ID") ?? "";
      if (request.status === 200 && request.response) {
        resolve({ answer: request.response, requestId });
      } else {
        reject(new Problem(request.response?.title ? request.response : unknown(request.status)));
      }
    });
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

/** Return the card of the model that answers now. */
export async function modelCard() {
  const response = await fetch(`${BASE}api/v1/model`);
  const body = await response.json().catch(() => null);
  if (response.ok && body) return body;
  throw new Problem(body?.title ? body : unknown(response.status));
}

/** Return a file of the server as if it had been chosen. */
export async function fetchFile(address) {
  const response = await fetch(address).catch(() => null);
  if (!response) throw new Problem(UNREACHABLE);
  if (!response.ok) throw new Problem(unknown(response.status));
  return new File([await response.blob()], address.split("/").pop());
}

const UNREACHABLE = {
  title: "The server cannot be reached",
  detail: "The connection failed before an answer came. The files are still chosen.",
  remedy: "Check the network and try again.",
};

function unknown(status) {
  return {
    title: "No answer that can be read",
    detail: `The server, or something between here and there, answered with status ${status}.`,
    remedy: "Try again; if it fails again, tell whoever runs this server.",
  };
}
