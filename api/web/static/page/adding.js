// How photos come in: the pickers for photos and for a folder, dropping, pasting.

import { $ } from "../common/dom.js";
import { isPhoto } from "./photos.js";

// `add(files, {left})` gets the photos, and how many files are none.
export function prepareAdding(add) {
  const take = (files) => {
    const all = [...files].filter((file) => !file.name.startsWith("."));
    const photos = all.filter(isPhoto);
    if (all.length) add(photos, { left: all.length - photos.length });
  };
  for (const id of ["pick-photos", "pick-folder"]) {
    $(id).addEventListener("change", () => {
      take($(id).files);
      $(id).value = ""; // the same photos can be picked once more
    });
  }
  for (const button of document.querySelectorAll("[data-pick]")) {
    button.addEventListener("click", () => $(button.dataset.pick).click());
  }
  if (!("webkitdirectory" in HTMLInputElement.prototype)) {
    for (const button of document.querySelectorAll("[data-pick=pick-folder]")) button.hidden = true;
  }
  prepareDrop(take);
  addEventListener("paste", (event) => {
    if (event.target.matches("input, textarea") || !event.clipboardData.files.length) return;
    event.preventDefault();
    take(event.clipboardData.files);
  });
}

function prepareDrop(take) {
  let depth = 0; // dragenter comes once for each element below the pointer
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  const show = (on) => document.body.classList.toggle("dropping", on);
  addEventListener("dragenter", (event) => {
    if (!hasFiles(event)) return;
    depth += 1;
    show(true);
  });
  addEventListener("dragleave", (event) => {
    if (!hasFiles(event)) return;
    depth = Math.max(0, depth - 1);
    show(depth > 0);
  });
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  addEventListener("drop", async (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth = 0;
    show(false);
    take(await filesOf(event.dataTransfer));
  });
}

// All files of a drop; folders are walked.
async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.());
  if (!entries.some((entry) => entry?.isDirectory)) return transfer.files;
  return (await Promise.all(entries.filter(Boolean).map(walk))).flat();
}

async function walk(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found; // a reader gives 100 entries at a time
    found.push(...(await Promise.all(some.map(walk))).flat());
  }
}
