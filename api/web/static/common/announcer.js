// The live region: short sentences for a screen reader. Those of one moment are read as one.

import { $ } from "./dom.js";

const GATHER_MS = 1_000;
let waiting = [];

export function announce(sentence) {
  if (!waiting.length) {
    setTimeout(() => {
      $("live").textContent = waiting.slice(-4).join(" ");
      waiting = [];
    }, GATHER_MS);
  }
  waiting.push(sentence);
}
