// Requests to the HTTP API: the page is a client of it like any other.

import { ROOT } from "./dom.js";
import { key } from "./session.js";

// An answer that is an error: a problem of the API (RFC 9457), or no answer at all ("unreachable").
export class Problem extends Error {
  constructor(problem, retryAfterS = null) {
    super(problem.detail ?? problem.title ?? problem.code);
    this.code = problem.code ?? "internal";
    this.detail = problem.detail ?? "";
    this.errors = problem.errors ?? [];
    this.requestId = problem.request_id ?? "";
    this.status = problem.status ?? 0;
    this.retryAfterS = retryAfterS;
  }

  // The same request may succeed soon without any change.
  get passes() {
    return ["unreachable", "unavailable", "rate-limited", "queue-full", "idempotency-in-progress"].includes(this.code) || this.status === 502 || this.status === 504;
  }
}

// "reached": the service answered. "away": it did not; detail.problem says how. "refused": the key is not valid.
export const contact = new EventTarget();

function told(problem) {
  const name = problem === null ? "reached" : problem.code === "unauthorized" ? "refused" : ["unreachable", "unavailable"].includes(problem.code) || problem.status >= 502 ? "away" : "reached";
  contact.dispatchEvent(new CustomEvent(name, { detail: { problem } }));
}

function toProblem(status, text, retryAfter) {
  let problem;
  try {
    problem = JSON.parse(text);
  } catch {
    problem = { code: status >= 502 ? "unavailable" : "internal", detail: `HTTP ${status}` };
  }
  return new Problem({ ...problem, status }, retryAfter ? Number(retryAfter) : null);
}

// Send a request; returns the JSON of the answer, or null if it has none. Throws Problem.
export async function call(method, path, { json, headers = {}, signal, public: open = false } = {}) {
  const body = json === undefined ? undefined : JSON.stringify(json);
  const all = { ...headers, ...(open ? {} : { Authorization: `Bearer ${key()}` }), ...(body ? { "Content-Type": "application/json" } : {}) };
  let response;
  let text;
  try {
    response = await fetch(ROOT + path, { method, headers: all, body, signal });
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    const problem = new Problem({ code: "unreachable", detail: String(error) });
    told(problem);
    throw problem;
  }
  if (!response.ok) {
    const problem = toProblem(response.status, text, response.headers.get("Retry-After"));
    told(problem);
    throw problem;
  }
  told(null);
  return text ? JSON.parse(text) : null;
}

// Upload a photo. XMLHttpRequest, because fetch cannot tell how far an upload is.
export function upload(path, form, headers, onShare, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const fail = (problem) => {
      told(problem);
      reject(problem);
    };
    request.open("POST", ROOT + path);
    for (const [name, value] of Object.entries({ ...headers, Authorization: `Bearer ${key()}` })) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && onShare(event.loaded / event.total);
    request.onerror = () => fail(new Problem({ code: "unreachable" }));
    request.onabort = () => reject(new DOMException("aborted", "AbortError"));
    request.onload = () => {
      if (request.status >= 400) return fail(toProblem(request.status, request.responseText, request.getResponseHeader("Retry-After")));
      told(null);
      return resolve(JSON.parse(request.responseText));
    };
    signal?.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}
