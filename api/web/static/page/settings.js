// The settings for photos that will be restored: presets, strength, background, model, and the folded ones.

import { call } from "../common/api.js";
import { $, make } from "../common/dom.js";
import { changed, t } from "../common/language.js";
import { curesFor } from "./faces.js";

const STORED = "facemend-settings";
const NARROW = "(max-width: 56rem)"; // as in page.css
const KEEP_THE_PERSON = 0.5; // below it, a face may be another person's

// What differs from the defaults of the API.
const PRESETS = {
  old: { keep_colour: true },
  group: { min_face_px: 8, detection_threshold: 0.7, max_faces: 500 },
  small: { background: "x2", strength: 0.8 },
};
const DEFAULTS = {
  model: "", format: "same", strength: 1, background: "keep", keep_person: false, skip_sharp: true,
  keep_colour: false, post_filter: false, min_face_px: 16, max_faces: 100, detection_threshold: 0.9,
  truncation: 1, noise_scale: 1,
};
const NUMBERS = ["strength", "min_face_px", "max_faces", "detection_threshold", "truncation", "noise_scale"];
const FLAGS = ["keep_person", "skip_sharp", "keep_colour", "post_filter"];

let values = { ...DEFAULTS, ...read() };
export const settings = new EventTarget(); // "change"

function read() {
  try {
    return JSON.parse(localStorage.getItem(STORED)) ?? PRESETS.old;
  } catch {
    return PRESETS.old;
  }
}

export function prepareSettings() {
  $("settings-fold").open = !matchMedia(NARROW).matches;
  $("settings").addEventListener("input", (event) => {
    const { name, type, value, checked, validity } = event.target;
    if (name === "preset") values = { ...values, ...presetValues(value) };
    else if (!(name in DEFAULTS) || !validity.valid) return;
    else if (type === "checkbox") values[name] = checked;
    else if (name === "strength") values[name] = Number(value) / 100;
    else values[name] = NUMBERS.includes(name) ? Number(value) : value;
    if (name === "preset") write();
    store();
  });
  changed.addEventListener("change", write);
  write();
}

function store() {
  localStorage.setItem(STORED, JSON.stringify(values));
  show();
  settings.dispatchEvent(new Event("change"));
}

function presetValues(name) {
  const { model, format, keep_person } = values; // a preset does not choose these
  return { ...DEFAULTS, ...PRESETS[name], model, format, keep_person };
}

const isPreset = (name) => Object.entries(presetValues(name)).every(([field, value]) => values[field] === value);

function write() {
  const fields = $("settings").elements;
  for (const name of Object.keys(DEFAULTS)) {
    const field = fields[name];
    if (FLAGS.includes(name)) field.checked = values[name];
    else if (name === "background") for (const radio of field) radio.checked = radio.value === values.background;
    else field.value = name === "strength" ? Math.round(100 * values.strength) : values[name];
  }
  show();
}

function show() {
  const percent = t("percent", { n: Math.round(100 * values.strength) });
  $("settings-strength-value").textContent = percent;
  $("settings").elements.strength.setAttribute("aria-valuetext", percent);
  for (const radio of $("settings").elements.preset) radio.checked = isPreset(radio.value);
  const preset = Object.keys(PRESETS).find(isPreset);
  $("preset-name").textContent = t(preset ? `preset.${preset}` : "preset.own");
}

// Offer the models that a live worker serves; without a choice the field stays away.
export async function readModels() {
  const { data } = await call("GET", "/v1/models");
  const served = data.filter((model) => model.loaded || model.default);
  const field = $("settings").elements.model;
  field.replaceChildren(...served.map((model) => make("option", { value: model.default ? "" : model.name, textContent: model.name })));
  if (!served.some((model) => model.name === values.model)) values.model = "";
  field.value = values.model;
  $("model-field").hidden = served.length < 2;
}

// The request for a photo, with the faces that were chosen from its detection.
export function requestFor(photo) {
  const { model, format, keep_person, ...options } = values;
  const request = { options: { ...options, min_identity: keep_person ? KEEP_THE_PERSON : null }, output: { format } };
  if (photo.detection && photo.faces) {
    Object.assign(request.options, curesFor(photo, photo.faces), { faces: { detection_id: photo.detection.id, indexes: photo.faces } });
  }
  return model ? { model, ...request } : request;
}
