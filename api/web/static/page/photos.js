// The photos of the page: those just added, and the history of this key. One photo may have several jobs.

import { newId } from "../common/dom.js";
import { t } from "../common/language.js";
import * as kept from "./kept_photos.js";

const THUMBNAIL_PX = 240;
const ACTIVE = new Set(["asked", "sending", "queued", "running"]);
const NAMES = /\.(jpe?g|jfif|png|webp|bmp|dib|tiff?|gif)$/i;
const TYPES = /^image\/(jpeg|png|webp|bmp|x-ms-bmp|tiff|gif)$/;

export const isPhoto = (file) => TYPES.test(file.type) || (!file.type && NAMES.test(file.name));

// A photo and what is known of it.
//
// `state`: "ready" (not asked for yet), "asked", "sending", then the status of its job: "queued", "running",
// "succeeded", "failed", "canceled". `job` is its newest job, `result` its newest job that succeeded.
export class Photo {
  constructor(fields) {
    Object.assign(this, {
      id: newId(), name: "", addedAt: Date.now(), file: null, thumbnail: null, request: null,
      sendKey: null, owner: null, state: "ready", share: 0, job: null, result: null, jobs: [], problem: null,
      faces: null, detection: null, chosen: false, askedAt: 0, ...fields,
    });
    this.urls = {};
  }

  get active() { return ACTIVE.has(this.state); }

  // The address of the photo as it was, or null if this browser does not have it.
  get beforeUrl() { return this.file && (this.urls.file ??= URL.createObjectURL(this.file)); }

  get thumbnailUrl() {
    if (this.thumbnail) return (this.urls.thumbnail ??= URL.createObjectURL(this.thumbnail));
    return this.result?.result.image.url ?? null;
  }

  // Percent of the whole way, from the upload to the result.
  get percent() {
    if (this.state === "sending") return 15 * this.share;
    if (this.state === "queued") return 15;
    if (this.state === "running") return 15 + 0.85 * (this.job.progress?.percent ?? 0);
    return this.state === "succeeded" ? 100 : 0;
  }

  // One short line about where it is.
  get line() {
    const { job, state } = this;
    if (state === "sending") return t("state.sending-percent", { percent: Math.round(100 * this.share) });
    if (state === "queued" && job?.queue) return t("state.place", { n: job.queue.position });
    if (state === "running" && job?.progress) {
      const { stage, faces_done: done, faces_total: total } = job.progress;
      return stage === "restoring" && total ? t("state.restoring-face", { n: Math.min(done + 1, total), total }) : t(`stage.${stage}`);
    }
    if (state === "succeeded") {
      const { faces } = job.result;
      const restored = faces.filter((face) => face.status === "restored").length;
      if (!faces.length) return t("state.no-face");
      if (restored) return t("state.restored", { n: restored });
      return t(faces.every((face) => face.reason === "already-sharp") ? "state.sharp" : "state.none-restored");
    }
    return t(`state.${state}`);
  }

  release() {
    for (const url of Object.values(this.urls)) URL.revokeObjectURL(url);
    this.urls = {};
  }
}

// All photos, the newest first. Events: "list" (photos came or went), "change" (detail.photo changed),
// "open" (another photo is looked at), "choice" (which ones are chosen), "unkept" (the browser has no room).
export class Photos extends EventTarget {
  constructor() {
    super();
    this.all = [];
    this.opened = null;
    this.owner = null; // the tenant of the key; null before the sign-in
  }

  find(id) { return this.all.find((photo) => photo.id === id); }
  get active() { return this.all.filter((photo) => photo.active); }
  get ready() { return this.all.filter((photo) => photo.state === "ready" && photo.file); }
  get chosen() { return this.all.filter((photo) => photo.chosen); }
  get done() { return this.all.filter((photo) => photo.result); }

  tell(name, detail = {}) { this.dispatchEvent(new CustomEvent(name, { detail })); }

  update(photo, fields) {
    Object.assign(photo, fields);
    this.tell("change", { photo });
  }

  open(photo) {
    if (this.opened === photo) return;
    this.opened = photo;
    this.tell("open", { photo });
  }

  // Put files in the list and keep them in the browser. Returns the photos, in the order of the files.
  async add(files) {
    const made = [...files].map((file, index) => new Photo({ name: file.name || t("photo.pasted"), file, owner: this.owner, addedAt: Date.now() - index }));
    this.all = [...made, ...this.all];
    this.tell("list");
    for (const photo of made) this.keep(photo); // before the thumbnails take their time: the person may leave
    for (const photo of made) {
      photo.thumbnail = await makeThumbnail(photo.file);
      if (!this.all.includes(photo)) continue; // erased meanwhile
      this.update(photo, {});
      await this.keep(photo);
    }
    return made;
  }

  // Write the photo to the browser's storage; it is deleted when the job expires.
  async keep(photo) {
    if (!photo.file) return;
    const { id, name, addedAt, file, thumbnail, request, sendKey, owner } = photo;
    const expires = photo.job?.expires_at;
    const record = { id, name, addedAt, file, thumbnail, request, sendKey, owner, wanted: ["asked", "sending"].includes(photo.state), expiresAt: expires ? Date.parse(expires) : null };
    try {
      await kept.keep(record);
    } catch (error) {
      this.tell("unkept", { error });
    }
  }

  async remove(photos) {
    this.all = this.all.filter((photo) => !photos.includes(photo));
    if (photos.includes(this.opened)) this.open(null);
    photos.forEach((photo) => photo.release());
    this.tell("list");
    await kept.remove(photos.map((photo) => photo.id)).catch(() => null);
  }

  // Read what an earlier visit left in the browser: photos of nobody yet, or of the tenant that signed in.
  async readKept() {
    const records = await kept.all().catch(() => []);
    const news = records.filter((record) => (record.owner === null || record.owner === this.owner) && !this.find(record.id));
    const made = news.map(({ wanted, expiresAt, ...record }) => new Photo({ ...record, state: wanted ? "asked" : "ready" }));
    this.#merge(made);
  }

  // Take jobs of the server, newest first: each belongs to a photo of this page, or makes one.
  takeJobs(jobs) {
    const made = [];
    for (const job of jobs) {
      const id = job.metadata.photo || job.id;
      let photo = this.find(id) ?? made.find((one) => one.id === id);
      if (!photo) {
        photo = new Photo({ id, name: job.metadata.file || nameOfInput(job), addedAt: Date.parse(job.created_at), owner: this.owner });
        made.push(photo);
      }
      this.takeJob(photo, job);
    }
    this.#merge(made);
  }

  // A newer state of one job of a photo.
  takeJob(photo, job) {
    if (!photo.jobs.includes(job.id)) photo.jobs.push(job.id);
    if (job.status === "succeeded" && (!photo.result || photo.result.created_at <= job.created_at)) photo.result = job;
    if (photo.job && photo.job.created_at > job.created_at) return;
    const wanted = photo.request && ["asked", "sending"].includes(photo.state) && photo.request.metadata.send !== job.metadata.send;
    photo.job = job;
    if (!wanted) Object.assign(photo, { state: job.status, problem: job.error });
  }

  #merge(made) {
    this.all = [...this.all, ...made].sort((one, other) => other.addedAt - one.addedAt);
    this.tell("list");
  }
}

function nameOfInput(job) {
  const path = job.input.key ?? job.input.url ?? "";
  return path.split(/[?#]/)[0].split("/").filter(Boolean).pop() ?? job.id.slice(0, 12);
}

// A small JPEG of a photo, or null if this browser cannot show the format (TIFF in most of them).
async function makeThumbnail(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return null;
  }
  const scale = Math.min(1, THUMBNAIL_PX / Math.min(bitmap.width, bitmap.height));
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale)));
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.8 });
}
