// Face boxes on the photo, and the list beside it: what was done to each face, why not, and which to restore.

import { $, make } from "../common/dom.js";
import { has, t } from "../common/language.js";

const SURE = 0.9; // a score above it is that of a face
const SMALL_PX = 16;
const SCALES = { keep: 1, x2: 2, x4: 4 };
// What a new job needs so that a face that was left out is restored if a person chooses it.
const CURES = {
  "too-small": { min_face_px: 8 },
  "over-cap": { max_faces: 500 },
  "already-sharp": { skip_sharp: false },
};

// [width, height] of the photo that was sent: boxes are in its pixels.
export function photoSize(photo) {
  if (photo.result) {
    const scale = SCALES[photo.result.options.background] ?? 1;
    return [photo.result.result.image.width / scale, photo.result.result.image.height / scale];
  }
  return null;
}

// The faces that are known: those of the result, or of a detection.
export const facesOf = (photo) => photo.result?.result.faces ?? photo.detection?.faces ?? [];

// Indexes of the faces that are chosen: by the person, or those that were restored or will be.
export function chosenFaces(photo) {
  if (photo.faces) return photo.faces;
  return facesOf(photo).filter((face) => face.status === "restored" || (face.status === undefined && !face.sharp && face.score > SURE)).map((face) => face.index);
}

export function isChanged(photo) {
  if (!photo.faces || !photo.result) return false;
  const before = chosenFaces({ ...photo, faces: null, result: photo.result });
  return photo.faces.join() !== before.join();
}

export function toggleFace(photo, index) {
  const chosen = new Set(chosenFaces(photo));
  if (!chosen.delete(index)) chosen.add(index);
  return [...chosen].sort((one, other) => one - other);
}

// Options that make the chosen faces restorable.
export function curesFor(photo, indexes) {
  const chosen = facesOf(photo).filter((face) => indexes.includes(face.index));
  const cures = chosen.map((face) => CURES[face.reason] ?? { ...(face.sharp ? CURES["already-sharp"] : {}), ...(face.size < SMALL_PX ? CURES["too-small"] : {}) });
  return Object.assign({}, ...cures);
}

function whatWasDone(face) {
  if (!face.status) return t(face.sharp ? "face.found-sharp" : face.score > SURE ? "face.found" : "face.found-unsure");
  if (face.status === "restored") {
    const same = face.identity_similarity;
    return same === null ? t("face.restored") : t("face.restored-same", { percent: Math.round(100 * same) });
  }
  const key = `reason.${face.reason}`;
  return has(key) ? t(key) : t("reason.other", { reason: face.reason });
}

export function showFaces(photo, onToggle) {
  const faces = photo ? facesOf(photo) : [];
  const size = photo && (photoSize(photo) ?? photo.detection?.size);
  const chosen = photo ? chosenFaces(photo) : [];
  $("faces-block").hidden = faces.length === 0;
  const boxes = size ? faces.map((face) => box(face, size, chosen.includes(face.index), onToggle)) : [];
  $("boxes").classList.toggle("many", faces.length > 6);
  replace($("boxes"), boxes);
  replace($("faces"), faces.map((face) => row(face, chosen.includes(face.index), onToggle)));
}

// Replace children, and give the focus back to the one that has the same face.
function replace(list, children) {
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.face : null;
  list.replaceChildren(...children);
  if (focused !== null) list.querySelector(`[data-face="${focused}"]`)?.focus({ preventScroll: true });
}

function box(face, [width, height], pressed, onToggle) {
  const [left, top, right, bottom] = face.box;
  const button = make("button", {
    type: "button", class: `box ${face.status ?? "found"}`, "aria-pressed": String(pressed), "data-face": face.index,
    "aria-label": `${t("face.name", { n: face.index + 1 })}: ${whatWasDone(face)}`,
    onclick: () => onToggle(face.index),
  }, make("span", { class: "tag", "aria-hidden": "true", textContent: face.index + 1 }), make("span", { class: "said", "aria-hidden": "true", textContent: whatWasDone(face) }));
  Object.assign(button.style, {
    left: `${(100 * left) / width}%`, top: `${(100 * top) / height}%`,
    width: `${(100 * (right - left)) / width}%`, height: `${(100 * (bottom - top)) / height}%`,
  });
  return button;
}

function row(face, checked, onToggle) {
  const id = `face-${face.index}`;
  return make("li", { class: face.status ?? "found" },
    make("input", { type: "checkbox", id, checked, "data-face": face.index, onchange: () => onToggle(face.index) }),
    make("label", { for: id }, make("b", { textContent: t("face.name", { n: face.index + 1 }) }), " ", make("span", { textContent: whatWasDone(face) })));
}
