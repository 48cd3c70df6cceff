// The stage: a photo before and after, with a divider, zoom and pan. Both pictures are layers of one sheet, so
// they move together; the divider stays where it is on the screen and cuts them there.

import { $ } from "../common/dom.js";
import { changed, t } from "../common/language.js";

const STEP = 0.02;
const LARGE_STEP = 0.1;
const ZOOM_STEP = 1.25;
const MAX_ZOOM = 16; // times the size that fits
const PAN_PX = 60;
const MOVED_PX = 4; // a pointer that moved less was a click

export class Viewer extends EventTarget {
  #cut = 0.5; // of the width of the stage
  #zoom = 1;
  #offset = [0, 0]; // of the sheet's corner, in px of the stage
  #fit = { width: 1, height: 1 };
  #size = null; // of the photo, [width, height]
  #pointers = new Map();
  #drag = null;
  #strength = 1;

  constructor() {
    super();
    this.stage = $("stage");
    this.sheet = $("sheet");
    this.divider = $("divider");
    new ResizeObserver(() => this.#layOut()).observe(this.stage);
    this.stage.addEventListener("wheel", (event) => this.#onWheel(event), { passive: false });
    this.stage.addEventListener("pointerdown", (event) => this.#onDown(event));
    this.stage.addEventListener("pointermove", (event) => this.#onMove(event));
    for (const name of ["pointerup", "pointercancel"]) this.stage.addEventListener(name, (event) => this.#onUp(event));
    this.stage.addEventListener("click", (event) => this.#afterDrag(event), { capture: true });
    this.stage.addEventListener("dblclick", (event) => this.#onDoubleClick(event));
    this.stage.addEventListener("keydown", (event) => this.#onKey(event));
    $("zoom-in").addEventListener("click", () => this.#zoomBy(ZOOM_STEP));
    $("zoom-out").addEventListener("click", () => this.#zoomBy(1 / ZOOM_STEP));
    $("zoom-fit").addEventListener("click", () => this.#reset());
    for (const name of ["before", "after"]) {
      $(name).addEventListener("load", () => this.#onLoad(name));
      $(name).addEventListener("error", () => this.#onError(name));
    }
    changed.addEventListener("change", () => this.#draw());
  }

  // Show addresses of the two pictures; either may be null. `size` is [width, height] of the photo, if known.
  show(before, after, size, { keepView = false } = {}) {
    this.#size = size;
    this.#setSource("before", before);
    this.#setSource("after", after);
    if (!keepView) {
      this.#cut = 0.5;
      this.#reset();
    } else {
      this.#layOut();
    }
  }

  #setSource(name, url) {
    const image = $(name);
    if (image.getAttribute("src") === url) return;
    image.hidden = url === null;
    if (url === null) image.removeAttribute("src");
    else image.src = url;
    this.#showParts();
  }

  // Blend the restored picture over the old one: 1 shows it as it is.
  set strength(share) {
    this.#strength = share;
    $("after").style.opacity = share;
  }

  get comparing() { return !$("before").hidden && !$("after").hidden; }

  #onLoad(name) {
    const image = $(name);
    this.#size ??= [image.naturalWidth, image.naturalHeight];
    this.#layOut();
  }

  #onError(name) {
    if (!$(name).getAttribute("src")) return;
    $(name).hidden = true;
    this.#showParts();
    this.dispatchEvent(new CustomEvent("unshown", { detail: { name } }));
  }

  #showParts() {
    this.stage.classList.toggle("comparing", this.comparing);
    this.divider.hidden = !this.comparing;
    this.#draw();
  }

  // --- geometry ---------------------------------------------------------------------------------

  #layOut() {
    const [width, height] = this.#size ?? [1, 1];
    const room = { width: this.stage.clientWidth, height: this.stage.clientHeight };
    const scale = Math.min(room.width / width, room.height / height) || 1;
    this.#fit = { width: width * scale, height: height * scale };
    this.#keepInside();
    this.#draw();
  }

  #reset() {
    this.#zoom = 1;
    this.#layOut();
  }

  #keepInside() {
    const room = [this.stage.clientWidth, this.stage.clientHeight];
    const size = [this.#fit.width * this.#zoom, this.#fit.height * this.#zoom];
    this.#offset = this.#offset.map((offset, axis) => {
      const slack = room[axis] - size[axis];
      return slack >= 0 ? slack / 2 : Math.min(0, Math.max(slack, offset));
    });
  }

  #draw() {
    const [left, top] = this.#offset;
    const { width, height } = this.#fit;
    const { style } = this.sheet;
    style.width = `${width * this.#zoom}px`;
    style.height = `${height * this.#zoom}px`;
    style.transform = `translate(${left}px, ${top}px)`;
    const cut = this.#cut * this.stage.clientWidth;
    this.divider.style.left = `${cut}px`;
    // The restored picture lies over the old one, on the right of the divider only.
    $("after").style.clipPath = this.comparing ? `inset(0 0 0 ${Math.max(0, cut - left)}px)` : "none";
    $("after").style.opacity = this.comparing ? this.#strength : 1;
    const percent = Math.round(100 * this.#cut);
    this.divider.setAttribute("aria-valuenow", percent);
    this.divider.setAttribute("aria-valuetext", t("viewer.before-share", { percent }));
    $("zoom-value").textContent = t("percent", { n: Math.round(100 * this.#zoom) });
    this.stage.classList.toggle("zoomed", this.#zoom > 1);
  }

  #zoomBy(factor, at = [this.stage.clientWidth / 2, this.stage.clientHeight / 2]) {
    const zoom = Math.min(MAX_ZOOM, Math.max(1, this.#zoom * factor));
    const by = zoom / this.#zoom;
    this.#offset = this.#offset.map((offset, axis) => at[axis] - (at[axis] - offset) * by);
    this.#zoom = zoom;
    this.#keepInside();
    this.#draw();
  }

  #panBy(right, down) {
    this.#offset = [this.#offset[0] + right, this.#offset[1] + down];
    this.#keepInside();
    this.#draw();
  }

  #cutAt(share) {
    this.#cut = Math.min(1, Math.max(0, share));
    this.#draw();
  }

  #place(event) {
    const frame = this.stage.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  }

  // --- pointer, touch, wheel, keyboard -----------------------------------------------------------

  #onWheel(event) {
    event.preventDefault();
    this.#zoomBy(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), this.#place(event));
  }

  #onDown(event) {
    if (event.button !== 0 || event.target.closest(".stage-tools")) return;
    this.#pointers.set(event.pointerId, this.#place(event));
    // At its fitting size the photo cannot be moved, so a drag anywhere moves the divider.
    const onDivider = event.target.closest("#divider") || (this.#zoom === 1 && this.comparing);
    this.#drag = { moved: false, onDivider: Boolean(onDivider), from: this.#place(event), target: event.target };
    if (event.target.closest("#divider")) event.preventDefault();
    if (event.target.closest("#divider")) this.divider.focus({ preventScroll: true });
  }

  #onMove(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const place = this.#place(event);
    if (this.#pointers.size === 2) {
      this.#pinch(event.pointerId, before, place);
    } else {
      const far = Math.hypot(place[0] - this.#drag.from[0], place[1] - this.#drag.from[1]);
      if (!this.#drag.moved && far < MOVED_PX) return;
      if (!this.#drag.moved) this.stage.setPointerCapture(event.pointerId);
      this.#drag.moved = true;
      if (this.#drag.onDivider) this.#cutAt(place[0] / this.stage.clientWidth);
      else this.#panBy(place[0] - before[0], place[1] - before[1]);
    }
    this.#pointers.set(event.pointerId, place);
  }

  #pinch(id, before, place) {
    const [, other] = [...this.#pointers].find(([each]) => each !== id);
    const far = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]);
    const middle = [(place[0] + other[0]) / 2, (place[1] + other[1]) / 2];
    this.#drag.moved = true;
    this.#panBy((place[0] - before[0]) / 2, (place[1] - before[1]) / 2);
    this.#zoomBy(far(place) / Math.max(1, far(before)), middle);
  }

  #onUp(event) {
    this.#pointers.delete(event.pointerId);
  }

  // The click that follows a drag is none.
  #afterDrag(event) {
    if (!this.#drag?.moved) return;
    this.#drag = null;
    event.stopPropagation();
    event.preventDefault();
  }

  #onDoubleClick(event) {
    if (event.target.closest("button")) return;
    if (this.#zoom > 1) this.#reset();
    else this.#zoomBy(3, this.#place(event));
  }

  #onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const onDivider = event.target === this.divider;
    if (!onDivider && event.target !== this.stage) return;
    const step = event.shiftKey ? LARGE_STEP : STEP;
    const keys = {
      "+": () => this.#zoomBy(ZOOM_STEP), "=": () => this.#zoomBy(ZOOM_STEP), "-": () => this.#zoomBy(1 / ZOOM_STEP), 0: () => this.#reset(),
      ArrowLeft: () => (onDivider ? this.#cutAt(this.#cut - step) : this.#panBy(PAN_PX, 0)),
      ArrowRight: () => (onDivider ? this.#cutAt(this.#cut + step) : this.#panBy(-PAN_PX, 0)),
      ArrowUp: () => (onDivider ? this.#cutAt(this.#cut + step) : this.#panBy(0, PAN_PX)),
      ArrowDown: () => (onDivider ? this.#cutAt(this.#cut - step) : this.#panBy(0, -PAN_PX)),
      Home: () => this.#cutAt(0), End: () => this.#cutAt(1),
      PageUp: () => this.#turn("previous"), PageDown: () => this.#turn("next"),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  }

  #turn(direction) {
    this.dispatchEvent(new CustomEvent("turn", { detail: { direction } }));
  }
}
