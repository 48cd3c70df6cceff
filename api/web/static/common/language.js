// The words of the page. Each language is one file of strings; the server renders the shell with the same.

import { ROOT } from "./dom.js";

const COOKIE = "facemend-language";
const ATTRIBUTES = { tLabel: "aria-label", tPlaceholder: "placeholder", tTitle: "title" };

export const changed = new EventTarget(); // "change": the language was switched
let words = await read(document.documentElement.lang);
let plural = new Intl.PluralRules(document.documentElement.lang);

async function read(language) {
  const response = await fetch(`${ROOT}/static/strings/${language}.json`);
  if (!response.ok) throw new Error(`no strings for ${language}`);
  return response.json();
}

export const language = () => document.documentElement.lang;
export const has = (key) => key in words;

// Return a text with its values filled in. `n` also chooses the plural form.
export function t(key, values = {}) {
  let text = words[key];
  if (text === undefined) throw new Error(`no text ${key}`);
  if (typeof text === "object") text = text[plural.select(values.n)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (_, name) => format(values[name]));
}

function format(value) {
  return typeof value === "number" ? value.toLocaleString(language()) : String(value ?? "");
}

// Write the texts of all elements that name one.
export function applyTo(root = document) {
  for (const element of root.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const [name, attribute] of Object.entries(ATTRIBUTES)) {
    const selector = `[data-${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}]`;
    for (const element of root.querySelectorAll(selector)) element.setAttribute(attribute, t(element.dataset[name]));
  }
}

export async function switchTo(name) {
  words = await read(name);
  plural = new Intl.PluralRules(name);
  document.documentElement.lang = name;
  document.cookie = `${COOKIE}=${name}; path=${ROOT || "/"}; max-age=31536000; samesite=lax`;
  applyTo();
  changed.dispatchEvent(new Event("change"));
}

export function bytes(number) {
  const unit = number >= 1e6 ? "megabyte" : "kilobyte";
  const value = number / (number >= 1e6 ? 1e6 : 1e3);
  const digits = { maximumFractionDigits: value < 10 && unit === "megabyte" ? 1 : 0 };
  return value.toLocaleString(language(), { style: "unit", unit, unitDisplay: "short", ...digits });
}

export function seconds(number) {
  if (number < 90) return number.toLocaleString(language(), { style: "unit", unit: "second", unitDisplay: "short", maximumFractionDigits: number < 10 ? 1 : 0 });
  const [unit, size] = number < 5400 ? ["minute", 60] : number < 129_600 ? ["hour", 3600] : ["day", 86_400];
  return Math.round(number / size).toLocaleString(language(), { style: "unit", unit, unitDisplay: unit === "minute" ? "short" : "long" });
}

// The switch in the header.
export function prepareSwitch(select) {
  select.value = language();
  select.addEventListener("change", () => switchTo(select.value));
}
