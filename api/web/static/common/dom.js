// Small helpers for the document. Text is set as text, never as HTML: names and details are not trusted.

export const $ = (id) => document.getElementById(id);

// The path below which a proxy serves the API; usually empty.
export const ROOT = document.querySelector("meta[name=facemend-root]").content;

// Make an element: `make("li", { class: "card", hidden: true, onclick: f }, child, "text")`.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !["class", "for", "list", "form"].includes(name)) element[name] = value;
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";
const PATHS = {
  check: "M3.5 8.5l3 3 6-7",
  cross: "M4 4l8 8M12 4l-8 8",
  clock: "M8 4.5V8l2.5 1.5M14 8A6 6 0 1 1 2 8a6 6 0 0 1 12 0z",
  alert: "M8 4.5v4M8 11.2v.3M14 8A6 6 0 1 1 2 8a6 6 0 0 1 12 0z",
  face: "M5.5 6.5v.5M10.5 6.5v.5M5.5 10c1.4 1.3 3.6 1.3 5 0M14 8A6 6 0 1 1 2 8a6 6 0 0 1 12 0z",
  photo: "M2.5 3.5h11v9h-11zM2.5 10.5l3-3 3 3 2-2 3 3M10.6 6.2v.1",
};

// Return an icon of 16 x 16 px. It is decoration: the text beside it, or a label, says the same.
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

// A random UUID (RFC 9562, version 4). crypto.randomUUID works only where the page comes by HTTPS.
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Ask a question in the dialog of the page; true if the person says yes.
export function confirmInDialog(question, yes) {
  const dialog = $("confirm");
  $("confirm-question").textContent = question;
  $("confirm-yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

// The buttons of a dialog close it; forms are never sent to a server.
export function prepareDialogs() {
  for (const button of document.querySelectorAll("dialog [data-close]")) {
    button.addEventListener("click", () => button.closest("dialog").close(button.dataset.close));
  }
}
