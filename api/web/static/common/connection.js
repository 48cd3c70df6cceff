// The line that says that the browser is offline or the service does not answer, and when it is back.

import { call, contact } from "./api.js";
import { $, sleep } from "./dom.js";
import { changed, t } from "./language.js";

const CHECK_MS = 3_000;
export const connection = new EventTarget(); // "back": requests may work again
let away = null; // "offline", "away", or null

export function isAway() {
  return away !== null;
}

export function watchConnection() {
  addEventListener("offline", () => show("offline"));
  addEventListener("online", check);
  contact.addEventListener("away", () => show(navigator.onLine ? "away" : "offline"));
  contact.addEventListener("reached", () => show(null));
  changed.addEventListener("change", render);
  $("connection-retry").addEventListener("click", check);
  if (!navigator.onLine) show("offline");
}

function show(state) {
  if (state === away) return;
  const was = away;
  away = state;
  render();
  if (state && !was) watch();
  if (was && !state) connection.dispatchEvent(new Event("back"));
}

function render() {
  $("connection").hidden = away === null;
  $("connection-text").textContent = away ? t(`connection.${away}`) : "";
  $("connection-retry").hidden = away === "offline";
}

async function watch() {
  while (away !== null) {
    await sleep(CHECK_MS);
    if (navigator.onLine && away !== null) await check();
  }
}

async function check() {
  // The probe needs no key. It answers 503 while Redis or the storage is away.
  await call("GET", "/readyz", { public: true }).catch(() => null);
}
