// The operator's view: queues, workers, failures and webhooks, from the API's own answers.

import { Problem, call } from "../common/api.js";
import { announce } from "../common/announcer.js";
import { connection, watchConnection } from "../common/connection.js";
import { $, make, prepareDialogs, sleep } from "../common/dom.js";
import { changed, language, prepareSwitch, seconds, t } from "../common/language.js";
import { explain } from "../common/problems.js";
import { session } from "../common/session.js";
import { account, ask, checkAgain, prepareSignIn } from "../common/sign_in.js";

const REFRESH_MS = 3_000;
const LISTED = 20;
const LATE_S = 60;

let read = null; // the last answers
let running = false;

// --- reading ------------------------------------------------------------------------------------

async function readAll() {
  const [ready, queues, workers, failures, letters] = await Promise.all([
    call("GET", "/readyz", { public: true }).catch(() => null),
    call("GET", "/v1/queues"),
    call("GET", "/v1/workers"),
    call("GET", `/v1/restorations?status=failed&limit=${LISTED}`),
    call("GET", `/v1/deliveries?limit=${LISTED}`),
  ]);
  return { ready, queues, workers: workers.data, failures: failures.data, letters: letters.data, more: letters.next_cursor !== null, at: new Date() };
}

async function refresh() {
  try {
    read = await readAll();
    render();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.code === "forbidden") {
      read = null;
      render();
    }
  }
}

async function run() {
  if (running) return;
  running = true;
  while (account) {
    if (!document.hidden) await refresh();
    await sleep(REFRESH_MS);
  }
  running = false;
  read = null;
  render();
}

// --- showing ------------------------------------------------------------------------------------

function render() {
  $("facts").hidden = read === null;
  $("panels").hidden = read === null;
  $("no-access").hidden = !account || read !== null;
  if (!read) return;
  $("updated").textContent = t("admin.updated", { time: read.at.toLocaleTimeString(language()) });
  showFacts();
  fill("queues", read.queues.data.map(queueRow));
  fill("workers", read.workers.map(workerRow));
  fill("failures", read.failures.map(failureRow));
  fill("endpoints", endpoints().map(endpointRow));
  fill("letters", read.letters.map(letterRow));
}

function showFacts() {
  const { ready, queues, workers, letters, more } = read;
  const parts = Object.entries(ready?.parts ?? { api: "unreachable" }).filter(([, state]) => state !== "ok");
  fact("state", parts.length ? t("admin.down", { parts: parts.map(([name]) => name).join(", ") }) : t("admin.up"), parts.length > 0);
  fact("queued", queues.data.reduce((sum, queue) => sum + queue.queued, 0));
  fact("running", queues.running);
  fact("workers", workers.length, workers.length === 0);
  fact("dead", `${letters.length}${more ? "+" : ""}`, letters.length > 0);
}

function fact(name, value, bad = false) {
  const place = $(`fact-${name}`);
  place.textContent = typeof value === "number" ? value.toLocaleString(language()) : value;
  place.className = bad ? "bad" : name === "state" ? "good" : "";
}

// Rows are replaced; the focus stays on the button of the same row.
function fill(id, rows) {
  const body = $(id);
  const focused = body.contains(document.activeElement) ? document.activeElement.dataset.for : null;
  body.replaceChildren(...rows);
  if (focused) body.querySelector(`[data-for="${CSS.escape(focused)}"]`)?.focus();
  $(`${id}-none`).hidden = rows.length > 0;
}

const cell = (...content) => make("td", {}, ...content);
const number = (text, late = false) => make("td", { class: late ? "number late" : "number" }, text);
const small = (text, className = "") => (text ? make("small", { textContent: text, className }) : null);
const ago = (time) => t("admin.ago", { time: seconds(Math.max(0, (Date.now() - Date.parse(time)) / 1000)) });

// `about` says in the name of a button which row it is for.
function button(key, about, action) {
  return make("button", { type: "button", class: "small", "data-for": `${key} ${about}`, "aria-label": `${t(key)}: ${about}`, textContent: t(key), onclick: (event) => act(event.target, key, about, action) });
}

async function act(pressed, key, about, action) {
  pressed.disabled = true;
  try {
    $("notice").hidden = true;
    await action();
    announce(t("admin.done", { action: t(key), name: about }));
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    const { title, text, detail } = explain(error);
    $("notice-title").textContent = title;
    $("notice-text").textContent = text;
    $("notice-detail").textContent = detail;
    $("notice").hidden = false;
  }
  pressed.disabled = false;
  await refresh();
}

// The pool is shown where there is a choice.
const inPool = ({ pool }) => (pool === "default" ? "" : t("admin.pool", { pool }));

function queueRow(queue) {
  const path = `/v1/queues/${encodeURIComponent(queue.name)}`;
  const what = queue.paused ? "resume" : "pause";
  return make("tr", {},
    cell(make("b", { textContent: queue.model }), small(inPool(queue)), queue.paused ? make("span", { class: "pill", textContent: t("admin.paused") }) : null),
    cell(t(`admin.priority.${queue.priority}`)), number(queue.queued.toLocaleString(language())),
    number(queue.oldest_s === null ? "–" : seconds(queue.oldest_s), queue.oldest_s > LATE_S),
    number(queue.queued ? seconds(queue.face_seconds) : "–"),
    cell(button(`admin.${what}`, queue.name, () => call("POST", `${path}/${what}`))));
}

function workerRow(worker) {
  const jobs = worker.jobs.map((job) => {
    const { progress } = job;
    const what = progress ? (progress.stage === "restoring" && progress.faces_total ? t("state.restoring-face", { n: Math.min(progress.faces_done + 1, progress.faces_total), total: progress.faces_total }) : t(`stage.${progress.stage}`)) : t("state.running");
    return make("div", {}, `${what} · ${seconds((Date.now() - Date.parse(job.started_at)) / 1000)}`, small(job.restoration_id ?? t("admin.other-tenant")));
  });
  const busy = worker.busy === null ? "" : t("admin.busy", { percent: Math.round(100 * worker.busy), faces: Math.round(10 * worker.faces_per_s) / 10 });
  return make("tr", {}, cell(make("b", { textContent: worker.name }), small([inPool(worker), worker.device === "auto" ? null : worker.device, worker.version].filter(Boolean).join(" · "))), cell(worker.models.join(", "), small(busy)),
    cell(...(jobs.length ? jobs : [make("span", { class: "soft", textContent: t("admin.idle") })])), cell());
}

function failureRow(job) {
  const { title, detail } = explain(job.error);
  const name = job.metadata.file ?? job.input.key ?? job.input.url ?? job.id;
  return make("tr", {}, number(ago(job.finished_at)), cell(make("b", { textContent: name }), small(job.id, "id")), cell(title, small(detail)),
    cell(button("photo.retry", job.id, () => call("POST", `/v1/restorations/${job.id}/retry`))));
}

function endpoints() {
  const found = new Map();
  for (const letter of read.letters) {
    const one = found.get(letter.url) ?? { url: letter.url, disabled: letter.disabled, letters: [] };
    one.letters.push(letter);
    found.set(letter.url, one);
  }
  return [...found.values()];
}

function endpointRow({ url, disabled, letters }) {
  return make("tr", {}, make("td", { class: "address" }, url), cell(disabled ? make("span", { class: "late", textContent: t(`admin.disabled.${disabled.reason}`) }) : t("admin.enabled")),
    number(letters.length.toLocaleString(language())),
    cell(button("admin.redeliver-all", url, async () => {
      for (const letter of letters) await call("POST", `/v1/deliveries/${letter.id}/redeliver`);
    })));
}

function letterRow(letter) {
  const last = letter.attempts.at(-1);
  const said = last ? (last.status_code ? `HTTP ${last.status_code}` : last.error) : t("admin.no-attempt");
  return make("tr", {}, number(ago(letter.created_at)), cell(make("b", { textContent: letter.event }), small(letter.restoration_id ?? "", "id")),
    cell(said, small(t("admin.tries", { n: letter.tries }))),
    cell(button("admin.redeliver", letter.id, () => call("POST", `/v1/deliveries/${letter.id}/redeliver`))));
}

changed.addEventListener("change", render);
session.addEventListener("signed-in", run);
session.addEventListener("signed-out", render);
connection.addEventListener("back", checkAgain);
$("notice-close").addEventListener("click", () => { $("notice").hidden = true; });

prepareDialogs();
prepareSwitch($("language"));
watchConnection();
await prepareSignIn();
if (!account) ask("admin.sign-in");
render();
document.body.dataset.ready = "true";
