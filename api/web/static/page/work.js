// What happens by itself: photos are sent, two at a time, and their jobs are followed until they end.
// A lost connection or a full queue only delays it; each send has an Idempotency-Key, so none is made twice.

import { Problem, call, upload } from "../common/api.js";
import { isAway } from "../common/connection.js";
import { newId, sleep } from "../common/dom.js";
import { account } from "../common/sign_in.js";

const SENDERS = 2;
const LOOK_MS = 1_000;
const LOOKS = 8; // requests for jobs in one round
const LONGEST_WAIT_S = 30;
const PAGE = 100;

export class Work {
  #photos;
  #aborts = new Map(); // by photo
  #sending = 0;
  #heldUntil = 0;
  #tries = 0;
  #following = false;
  #asked = 0; // how many were asked for

  constructor(photos) {
    this.#photos = photos;
  }

  // Ask for the restoration of photos. `request` makes the JSON part for one photo.
  async restore(photos, request) {
    for (const photo of photos) {
      const sendKey = newId();
      const metadata = { file: photo.name.slice(0, 200), photo: photo.id, send: sendKey.slice(0, 8) };
      this.#asked += 1;
      this.#photos.update(photo, { state: "asked", problem: null, share: 0, askedAt: this.#asked, sendKey, request: { ...request(photo), metadata } });
    }
    this.goOn();
    for (const photo of photos) await this.#photos.keep(photo);
  }

  // Look for work. Called whenever there may be some: new wishes, a sign-in, a connection that is back.
  goOn() {
    if (!account) return;
    while (this.#sending < SENDERS && !isAway()) {
      const held = this.#heldUntil - Date.now();
      if (held > 0) {
        setTimeout(() => this.goOn(), held);
        break;
      }
      const asked = this.#photos.all.filter((photo) => photo.state === "asked");
      if (!asked.length) break;
      this.#send(asked.reduce((first, photo) => (photo.askedAt < first.askedAt ? photo : first)));
    }
    this.#follow();
  }

  async #send(photo) {
    const abort = new AbortController();
    this.#aborts.set(photo, abort);
    this.#sending += 1;
    this.#photos.update(photo, { state: "sending", share: 0 });
    try {
      const form = new FormData();
      form.append("request", new Blob([JSON.stringify(photo.request)], { type: "application/json" }));
      form.append("image", photo.file, "photo");
      const job = await upload("/v1/restorations", form, { "Idempotency-Key": photo.sendKey }, (share) => this.#photos.update(photo, { share }), abort.signal);
      this.#tries = 0;
      photo.state = "queued";
      this.#photos.takeJob(photo, job);
      await this.#photos.keep(photo);
    } catch (error) {
      this.#failed(photo, error);
    } finally {
      this.#sending -= 1;
      this.#aborts.delete(photo);
      this.#photos.update(photo, {});
      this.goOn();
    }
  }

  #failed(photo, error) {
    if (error.name === "AbortError") {
      photo.state = "ready";
    } else if (error instanceof Problem && (error.passes || error.code === "unauthorized")) {
      photo.state = "asked"; // it waits for its turn, the connection or a sign-in
      this.#tries += 1;
      this.#heldUntil = Date.now() + 1000 * Math.min(LONGEST_WAIT_S, error.retryAfterS ?? 2 ** Math.min(this.#tries, 5));
    } else if (error instanceof Problem) {
      Object.assign(photo, { state: "failed", problem: error });
    } else {
      Object.assign(photo, { state: "failed", problem: { code: "unreadable-file", detail: String(error) } });
    }
  }

  // --- following jobs -------------------------------------------------------------------------

  async #follow() {
    if (this.#following) return;
    this.#following = true;
    let round = 0;
    for (;;) {
      const open = this.#photos.all.filter((photo) => ["queued", "running"].includes(photo.state));
      if (!open.length || !account) break;
      if (!isAway()) await Promise.all(this.#next(open, round).map((photo) => this.look(photo)));
      round += 1;
      await sleep(document.hidden ? 3 * LOOK_MS : LOOK_MS);
    }
    this.#following = false;
  }

  // Those that run, the one that is looked at, the oldest in the queue; the others by turns.
  #next(open, round) {
    const oldest = [...open].sort((one, other) => (one.job.created_at < other.job.created_at ? -1 : 1));
    const first = oldest.filter((photo) => photo.state === "running" || photo === this.#photos.opened);
    const others = oldest.filter((photo) => !first.includes(photo));
    const head = others.slice(0, LOOKS / 2);
    const tail = others.slice(LOOKS / 2);
    const turn = tail.length ? (round * 2) % tail.length : 0;
    return [...first.slice(0, LOOKS), ...head, ...tail.slice(turn, turn + 2)].slice(0, LOOKS);
  }

  // Read the job of a photo again; also for new addresses of its pictures.
  async look(photo) {
    const { job } = photo;
    try {
      const news = await call("GET", `/v1/restorations/${job.id}`);
      if (photo.job !== job) return;
      const ended = news.status !== photo.state;
      this.#photos.takeJob(photo, news);
      if (ended && news.finished_at) await this.#photos.keep(photo);
      this.#photos.update(photo, {});
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.code === "not-found") await this.#photos.remove([photo]);
    }
  }

  // --- what a person may ask ------------------------------------------------------------------

  async cancel(photo) {
    if (photo.state === "asked") return this.#photos.update(photo, { state: photo.result ? "succeeded" : "ready" });
    if (photo.state === "sending") return this.#aborts.get(photo)?.abort();
    const job = await call("POST", `/v1/restorations/${photo.job.id}/cancel`).catch((error) => {
      if (error.code === "conflict") return null; // it has just ended
      throw error;
    });
    if (job) this.#photos.takeJob(photo, job);
    else await this.look(photo);
    return this.#photos.update(photo, {});
  }

  // Run a job that failed or was cancelled once more. Without a job, or without its input, send the photo again.
  async retry(photo) {
    if (photo.job && photo.job.status === photo.state) {
      try {
        const job = await call("POST", `/v1/restorations/${photo.job.id}/retry`);
        photo.state = job.status;
        this.#photos.takeJob(photo, job);
        this.#photos.update(photo, {});
        return this.#follow();
      } catch (error) {
        if (!photo.file || !["input-not-found", "not-found", "conflict"].includes(error.code)) throw error;
      }
    }
    const { metadata, ...request } = photo.request ?? requestOf(photo.job);
    return this.restore([photo], () => request);
  }

  async erase(photo) {
    this.#aborts.get(photo)?.abort();
    for (const id of photo.jobs) {
      await call("DELETE", `/v1/restorations/${id}`).catch((error) => {
        if (error.code !== "not-found") throw error;
      });
    }
    if (photo.detection) await call("DELETE", `/v1/detections/${photo.detection.id}`).catch(() => null); // it expires by itself
    await this.#photos.remove([photo]);
  }

  // Read the history of this key, page by page. Returns whether there is more.
  #cursor = null;
  async readHistory({ more = false } = {}) {
    const cursor = more && this.#cursor ? `&cursor=${encodeURIComponent(this.#cursor)}` : "";
    const page = await call("GET", `/v1/restorations?limit=${PAGE}${cursor}`);
    this.#photos.takeJobs(page.data);
    this.#cursor = page.next_cursor;
    return this.#cursor !== null;
  }
}

// The request that made a job, to make another one like it.
export function requestOf(job) {
  const { model, options, output } = job;
  return { model, options, output: { ...output, key: null } };
}
