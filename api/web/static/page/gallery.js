// The list of photos: a grid, or a strip below the stage while one photo is looked at. One element a photo.

import { $, icon, make } from "../common/dom.js";
import { changed, t } from "../common/language.js";

const ICONS = { succeeded: "check", failed: "alert", canceled: "cross", asked: "clock", queued: "clock" };

export class Gallery {
  #photos;
  #items = new Map(); // by photo
  #search = "";

  constructor(photos) {
    this.#photos = photos;
    photos.addEventListener("list", () => this.#list());
    photos.addEventListener("change", (event) => this.#change(event.detail.photo));
    photos.addEventListener("open", () => this.#showOpened());
    changed.addEventListener("change", () => photos.all.forEach((photo) => this.#change(photo)));
    $("search").addEventListener("input", () => {
      this.#search = $("search").value.trim().toLocaleLowerCase();
      this.#filter();
    });
    $("photos").addEventListener("keydown", (event) => this.#onKey(event));
  }

  // The photos that the search leaves, in their order.
  get shown() { return this.#photos.all.filter((photo) => this.#matches(photo)); }

  #matches(photo) { return photo.name.toLocaleLowerCase().includes(this.#search); }

  #list() {
    for (const [photo, item] of this.#items) {
      if (!this.#photos.all.includes(photo)) {
        item.remove();
        this.#items.delete(photo);
      }
    }
    for (const photo of this.#photos.all) {
      if (!this.#items.has(photo)) {
        this.#items.set(photo, this.#make(photo));
        this.#change(photo);
      }
    }
    const wanted = this.#photos.all.map((photo) => this.#items.get(photo));
    // Only what is not at its place moves, so that focus and scrolling stay.
    wanted.forEach((item, index) => {
      const there = $("photos").children[index];
      if (there !== item) $("photos").insertBefore(item, there ?? null);
    });
    this.#filter();
  }

  #make(photo) {
    const pick = make("input", { type: "checkbox", onchange: () => {
      photo.chosen = pick.checked;
      this.#photos.tell("choice");
    } });
    const open = make("button", { type: "button", class: "open", onclick: () => this.#photos.open(photo) },
      icon("photo"), make("img", { alt: "", loading: "lazy", decoding: "async" }), make("span", { class: "ring" }), make("span", { class: "badge" }));
    return make("li", { class: "photo" }, open, make("label", { class: "pick" }, pick),
      make("p", { class: "caption", "aria-hidden": "true" }, make("b"), make("span")));
  }

  #change(photo) {
    const item = this.#items.get(photo);
    if (!item) return;
    const [open, pickLabel, caption] = item.children;
    const [, image, ring, badge] = open.children;
    const { line, thumbnailUrl, state } = photo;
    item.dataset.state = state;
    item.classList.toggle("busy", photo.active);
    item.classList.toggle("chosen", photo.chosen);
    if (thumbnailUrl && image.getAttribute("data-of") !== `${thumbnailUrl.split("?")[0]}`) {
      image.src = thumbnailUrl;
      image.setAttribute("data-of", thumbnailUrl.split("?")[0]);
    }
    item.classList.toggle("bare", !thumbnailUrl);
    ring.style.setProperty("--share", photo.percent / 100);
    badge.replaceChildren(...(ICONS[state] ? [icon(state === "succeeded" && !photo.job.result.faces.length ? "face" : ICONS[state])] : []));
    open.setAttribute("aria-label", `${photo.name}: ${line}`);
    open.title = photo.name;
    pickLabel.firstChild.checked = photo.chosen;
    pickLabel.firstChild.setAttribute("aria-label", t("gallery.choose", { name: photo.name }));
    caption.children[0].textContent = photo.name;
    caption.children[1].textContent = line;
  }

  #filter() {
    let count = 0;
    for (const [photo, item] of this.#items) {
      item.hidden = !this.#matches(photo);
      count += item.hidden ? 0 : 1;
    }
    $("nothing-found").hidden = count > 0 || this.#items.size === 0;
    this.#setTabStop();
  }

  // One photo is a stop for the Tab key; arrows move among the photos.
  #setTabStop() {
    const shown = this.shown;
    const stop = shown.includes(this.#photos.opened) ? this.#photos.opened : shown[0];
    for (const [photo, item] of this.#items) item.firstChild.tabIndex = photo === stop ? 0 : -1;
  }

  #showOpened() {
    for (const [photo, item] of this.#items) {
      const open = photo === this.#photos.opened;
      item.classList.toggle("opened", open);
      if (open) item.firstChild.setAttribute("aria-current", "true");
      else item.firstChild.removeAttribute("aria-current");
    }
    // After the list has become a strip, or a grid again.
    requestAnimationFrame(() => this.#items.get(this.#photos.opened)?.scrollIntoView({ block: "nearest", inline: "nearest" }));
    this.#setTabStop();
  }

  focus(photo) { this.#items.get(photo)?.firstChild.focus(); }

  // The next photo of the list, or the previous one.
  neighbour(photo, step) {
    const shown = this.shown;
    return shown[shown.indexOf(photo) + step] ?? null;
  }

  #onKey(event) {
    const item = event.target.closest(".photo");
    const photo = [...this.#items].find(([, each]) => each === item)?.[0];
    if (!photo || !event.target.matches(".open")) return;
    const shown = this.shown;
    const at = shown.indexOf(photo);
    const columns = this.#photos.opened ? 1 : Math.max(1, Math.round($("photos").clientWidth / item.offsetWidth));
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - columns, ArrowDown: at + columns, Home: 0, End: shown.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = shown[Math.min(shown.length - 1, Math.max(0, to))];
    for (const each of this.#items.values()) each.firstChild.tabIndex = -1;
    this.#items.get(next).firstChild.tabIndex = 0;
    this.#items.get(next).firstChild.focus();
  }
}
