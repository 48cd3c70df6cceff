// The page: many photos, one stage, everything goes on while one of them is looked at.

import { Problem } from "../common/api.js";
import { announce } from "../common/announcer.js";
import { connection, watchConnection } from "../common/connection.js";
import { $, confirmInDialog, prepareDialogs } from "../common/dom.js";
import { bytes, changed, prepareSwitch, t } from "../common/language.js";
import { explain } from "../common/problems.js";
import { session } from "../common/session.js";
import { account, ask, checkAgain, prepareSignIn } from "../common/sign_in.js";
import { prepareAdding } from "./adding.js";
import { saveZip } from "./downloads.js";
import { Gallery } from "./gallery.js";
import { PhotoPanel } from "./photo_panel.js";
import { Photos } from "./photos.js";
import { prepareSettings, readModels, requestFor } from "./settings.js";
import { Viewer } from "./viewer.js";
import { Work } from "./work.js";

const photos = new Photos();
const work = new Work(photos);
const gallery = new Gallery(photos);
const viewer = new Viewer();

// --- notices: what went wrong with something that a person asked for -------------------------------

function notice(title, text = "", detail = "") {
  $("notice-title").textContent = title;
  $("notice-text").textContent = text;
  $("notice-detail").textContent = detail;
  $("notice").hidden = false;
}

async function guard(action) {
  try {
    $("notice").hidden = true;
    return await action();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    const { title, text, detail } = explain(error);
    notice(title, text, detail);
    return undefined;
  }
}
guard.confirm = confirmInDialog;
$("notice-close").addEventListener("click", () => { $("notice").hidden = true; });
photos.addEventListener("unkept", () => notice(t("notice.unkept.title"), t("notice.unkept.text")));

// --- adding and restoring ----------------------------------------------------------------------

async function add(files, { left = 0 } = {}) {
  if (left) notice(t("notice.left-out.title", { n: left }), t("notice.left-out.text"));
  if (!files.length) return;
  const tooLarge = account ? files.filter((file) => file.size > account.limits.input.bytes) : [];
  if (tooLarge.length) notice(t("notice.too-large.title", { n: tooLarge.length }), t("notice.too-large.text", { size: bytes(account.limits.input.bytes) }));
  const good = files.filter((file) => !tooLarge.includes(file));
  announce(t("live.added", { n: good.length }));
  await photos.add(good);
}

const toRestore = () => {
  const chosen = photos.chosen.filter((photo) => photo.file && !photo.active);
  return chosen.length ? chosen : photos.ready;
};

let wanted = false; // the person asked for a restoration and is signing in for it

function restore() {
  if (!account) {
    wanted = true;
    return ask("sign-in.to-restore");
  }
  return guard(() => work.restore(toRestore(), requestFor));
}

const toSave = () => (photos.chosen.length ? photos.chosen : photos.done).filter((photo) => photo.result);

async function saveAll() {
  const button = $("save-all");
  button.disabled = true;
  await guard(() => saveZip(toSave(), (n, total) => { button.textContent = t("bar.saving", { n: n + 1, total }); }));
  button.disabled = false;
  renderBar();
}

async function eraseChosen() {
  const { chosen } = photos;
  if (!(await confirmInDialog(t("confirm.erase-many", { n: chosen.length }), t("confirm.erase")))) return;
  await guard(async () => {
    for (const photo of chosen) await work.erase(photo);
  });
}

function choose(all) {
  for (const photo of gallery.shown) photos.update(photo, { chosen: all });
  if (!all) photos.all.forEach((photo) => photo.chosen && photos.update(photo, { chosen: false }));
  photos.tell("choice");
}

$("restore").addEventListener("click", restore);
$("save-all").addEventListener("click", saveAll);
$("erase-chosen").addEventListener("click", eraseChosen);
$("choose-all").addEventListener("click", () => choose(true));
$("choose-none").addEventListener("click", () => choose(false));
$("cancel-all").addEventListener("click", () => guard(() => Promise.all(photos.active.map((photo) => work.cancel(photo)))));
$("more").addEventListener("click", () => guard(async () => { $("more").hidden = !(await work.readHistory({ more: true })); }));

// --- the whole --------------------------------------------------------------------------------

function render() {
  document.body.classList.toggle("empty", photos.all.length === 0);
  document.body.classList.toggle("viewing", photos.opened !== null);
  $("photo-block").hidden = photos.opened === null;
  $("stage-block").hidden = photos.opened === null;
  renderBar();
}

function renderBar() {
  const restorable = toRestore();
  const chosen = photos.chosen.length;
  $("restore").hidden = restorable.length === 0;
  $("restore").textContent = t("bar.restore", { n: restorable.length });
  const savable = toSave();
  $("save-all").hidden = savable.length === 0;
  $("save-all").textContent = chosen ? t("bar.save-chosen", { n: savable.length }) : t("bar.save-all", { n: savable.length });
  $("save-all").classList.toggle("primary", restorable.length === 0 && photos.opened === null);
  $("erase-chosen").hidden = chosen === 0;
  $("choose-none").hidden = chosen === 0;
  $("choose-all").hidden = chosen > 0 || photos.all.length < 2;
  $("cancel-all").hidden = photos.active.length < 2;
  const counts = { active: photos.active.length, failed: photos.all.filter((photo) => photo.state === "failed").length, done: photos.done.length };
  const parts = [t("bar.photos", { n: photos.all.length })];
  for (const [name, n] of Object.entries(counts)) if (n) parts.push(t(`bar.${name}`, { n }));
  $("count").textContent = chosen ? t("bar.chosen", { n: chosen }) : parts.join(" · ");
  document.title = counts.active ? `(${counts.active}) Facemend` : "Facemend";
}

function back() {
  const was = photos.opened;
  photos.open(null);
  if (was) gallery.focus(was);
}

const states = new Map(); // by photo, to announce each end once
function announceEnd(photo) {
  const was = states.get(photo);
  states.set(photo, photo.state);
  if (!was || was === photo.state) return;
  if (["succeeded", "failed", "canceled"].includes(photo.state)) announce(t("live.ended", { name: photo.name, state: photo.line }));
  if (was !== "ready" && !photo.active && photos.active.length === 0) announce(t("live.all-done"));
}

for (const name of ["list", "open", "choice"]) photos.addEventListener(name, render);
let drawn = false;
photos.addEventListener("change", (event) => {
  announceEnd(event.detail.photo);
  if (drawn) return; // once a frame, however many photos change
  drawn = true;
  requestAnimationFrame(() => {
    drawn = false;
    renderBar();
  });
});
changed.addEventListener("change", render);
$("back").addEventListener("click", back);
for (const [id, step] of [["previous", -1], ["next", 1]]) $(id).addEventListener("click", () => turn(step));
viewer.addEventListener("turn", (event) => turn(event.detail.direction === "next" ? 1 : -1));
function turn(step) {
  const next = photos.opened && gallery.neighbour(photos.opened, step);
  if (next) photos.open(next);
}
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && photos.opened && !document.querySelector("dialog[open]")) back();
});

session.addEventListener("signed-in", () => guard(async () => {
  photos.owner = account.tenant;
  photos.all.forEach((photo) => { photo.owner = photo.owner ?? account.tenant; });
  await photos.readKept();
  $("more").hidden = !(await work.readHistory());
  work.goOn();
  await readModels();
  if (wanted) await restore();
  wanted = false;
}));
$("sign-in").addEventListener("close", () => { wanted &&= account !== null; });
session.addEventListener("signed-out", () => {
  photos.remove([...photos.all]);
  photos.owner = null;
});
connection.addEventListener("back", () => {
  checkAgain();
  work.goOn();
});

prepareDialogs();
prepareSwitch($("language"));
prepareSettings();
prepareAdding(add);
new PhotoPanel(photos, work, viewer, guard);
watchConnection();
await photos.readKept();
render();
await prepareSignIn();
document.body.dataset.ready = "true";
