// The panel about the photo that is looked at: where it is, its faces, its strength, and what can be done.

import { call } from "../common/api.js";
import { announce } from "../common/announcer.js";
import { $ } from "../common/dom.js";
import { changed, bytes, seconds, t } from "../common/language.js";
import { explain } from "../common/problems.js";
import { account, ask } from "../common/sign_in.js";
import { findFaces, indexesIn } from "./detections.js";
import { saveComparison, saveResult } from "./downloads.js";
import { chosenFaces, curesFor, facesOf, isChanged, photoSize, showFaces, toggleFace } from "./faces.js";
import { requestFor } from "./settings.js";
import { requestOf } from "./work.js";

export class PhotoPanel {
  #photos;
  #work;
  #viewer;
  #guard; // runs an action and shows its problem
  #shown = null; // what the stage shows: the id of a photo and of its result

  constructor(photos, work, viewer, guard) {
    this.#photos = photos;
    this.#work = work;
    this.#viewer = viewer;
    this.#guard = guard;
    photos.addEventListener("open", () => this.render());
    photos.addEventListener("change", (event) => event.detail.photo === photos.opened && this.render());
    changed.addEventListener("change", () => this.render());
    viewer.addEventListener("unshown", (event) => this.#onUnshown(event.detail.name));
    $("strength").addEventListener("input", () => this.#onStrength());
    for (const [id, action] of Object.entries({
      apply: (photo) => this.#apply(photo),
      "find-faces": (photo) => this.#findFaces(photo),
      "restore-one": (photo) => this.#restore(photo),
      again: (photo) => work.restore([photo], requestFor),
      retry: (photo) => work.retry(photo),
      cancel: (photo) => work.cancel(photo),
      download: (photo) => saveResult(photo),
      comparison: (photo) => saveComparison(photo),
      "erase-one": (photo) => this.#erase(photo),
    })) $(id).addEventListener("click", () => guard(() => action(photos.opened)));
    $("show-boxes").addEventListener("change", () => $("boxes").classList.toggle("off", !$("show-boxes").checked));
  }

  get #strength() { return Number($("strength").value) / 100; }

  render() {
    const photo = this.#photos.opened;
    if (!photo) {
      this.#shown = null;
      return;
    }
    this.#showPictures(photo);
    $("photo-name").textContent = photo.name;
    $("photo-state").textContent = photo.line;
    $("photo-state").dataset.state = photo.state;
    $("photo-progress").hidden = !photo.active;
    $("photo-progress").value = photo.percent;
    const eta = photo.state === "queued" ? photo.job?.queue?.eta_s : null;
    $("photo-eta").textContent = eta ? t("photo.eta", { time: seconds(Math.max(1, eta)) }) : "";
    this.#showProblem(photo);
    this.#showFacts(photo);
    this.#showActions(photo);
    showFaces(photo.active ? null : photo, (index) => this.#toggle(index));
  }

  #showPictures(photo) {
    const shown = `${photo.id} ${photo.result?.id ?? ""}`;
    if (this.#shown === shown) return;
    const samePhoto = this.#shown?.startsWith(`${photo.id} `) ?? false;
    this.#shown = shown;
    this.#viewer.show(photo.beforeUrl, photo.result?.result.image.url ?? null, photoSize(photo), { keepView: samePhoto });
    const strength = photo.result?.options.strength ?? 1;
    $("strength").value = Math.round(100 * strength);
    this.#onStrength();
  }

  #showProblem(photo) {
    const problem = photo.state === "failed" ? photo.problem : null;
    $("photo-problem").hidden = !problem;
    if (!problem) return;
    const { title, text, detail } = explain(problem);
    $("photo-problem-title").textContent = title;
    $("photo-problem-text").textContent = text;
    $("photo-problem-detail").textContent = [detail, photo.job?.id].filter(Boolean).join(" · ");
  }

  #showFacts(photo) {
    const job = photo.result;
    const facts = [];
    if (job) {
      const { image, model } = job.result;
      facts.push(t("photo.size", { width: image.width, height: image.height }), `${image.format.toUpperCase()} ${bytes(image.bytes)}`, seconds(job.timings_ms.total / 1000), model.name);
    } else if (photo.file) {
      facts.push(bytes(photo.file.size));
    }
    $("photo-facts").textContent = facts.join(" · ");
    $("photo-warnings").textContent = job?.warnings.join(" ") ?? "";
    $("before-missing").hidden = !job || Boolean(photo.file);
  }

  #showActions(photo) {
    const { active, state } = photo;
    const { image, manifest, faces } = photo.result?.result ?? {};
    const changedFaces = isChanged(photo);
    const changedStrength = photo.result ? Math.abs(this.#strength - photo.result.options.strength) > 0.004 : false;
    const restored = faces?.some((face) => face.status === "restored");
    $("strength-block").hidden = !restored || !photo.file || active;
    $("apply").hidden = active || !photo.file || !(changedFaces || (changedStrength && restored));
    $("apply").textContent = changedFaces ? t("photo.apply-faces", { n: chosenFaces(photo).length }) : t("photo.apply");
    $("download").classList.toggle("primary", $("apply").hidden);
    $("restore-one").hidden = state !== "ready" || !photo.file;
    $("restore-one").textContent = photo.faces ? t("photo.apply-faces", { n: photo.faces.length }) : t("photo.restore");
    $("find-faces").hidden = state !== "ready" || !photo.file || photo.detection !== null;
    $("retry").hidden = !["failed", "canceled"].includes(state) || !(photo.file || photo.job);
    $("again").hidden = active || !photo.file || state !== "succeeded";
    $("cancel").hidden = !active;
    $("download").hidden = !image;
    if (image) $("download").textContent = t("photo.download", { format: image.format.toUpperCase(), size: bytes(image.bytes) });
    $("comparison").hidden = !image || !photo.file || !photo.thumbnail;
    $("manifest").hidden = !manifest?.url;
    if (manifest?.url) $("manifest").href = manifest.url;
    $("erase-one").hidden = false;
  }

  #onStrength() {
    const photo = this.#photos.opened;
    const percent = t("percent", { n: Math.round(100 * this.#strength) });
    $("strength-value").textContent = percent;
    $("strength").setAttribute("aria-valuetext", percent);
    if (!photo?.result) return;
    const made = photo.result.options.strength; // the blend cannot show more than the result has
    this.#viewer.strength = made > 0 ? Math.min(1, this.#strength / made) : 1;
    $("strength-more").hidden = this.#strength <= made + 0.004;
    this.#showActions(photo);
  }

  #toggle(index) {
    const photo = this.#photos.opened;
    this.#photos.update(photo, { faces: toggleFace(photo, index) });
  }

  async #findFaces(photo) {
    if (!account) return ask("sign-in.to-restore");
    $("find-faces").disabled = true;
    $("find-faces").textContent = t("stage.detecting");
    try {
      photo.detection = await findFaces(photo);
      announce(t("live.faces", { n: photo.detection.faces.length }));
    } finally {
      $("find-faces").disabled = false;
      $("find-faces").textContent = t("photo.find-faces");
      this.#photos.update(photo, {});
    }
    return undefined;
  }

  async #restore(photo) {
    if (!account) return ask("sign-in.to-restore");
    return this.#work.restore([photo], requestFor);
  }

  // The same job again, with the strength and the faces that are set here.
  async #apply(photo) {
    const request = requestOf(photo.result);
    const options = { ...request.options, strength: this.#strength };
    if (photo.faces) Object.assign(options, curesFor(photo, photo.faces), { faces: await this.#namedFaces(photo) });
    await this.#work.restore([photo], () => ({ ...request, options }));
    this.#photos.update(photo, { faces: null });
  }

  // The faces as the API names them. A face that was too uncertain is restored only if a detection has it.
  async #namedFaces(photo) {
    const before = photo.result.options.faces;
    if (before?.detection_id) return { detection_id: before.detection_id, indexes: photo.faces };
    const chosen = facesOf(photo).filter((face) => photo.faces.includes(face.index));
    if (!chosen.some((face) => face.reason === "low-score")) return photo.faces;
    const detection = await findFaces(photo);
    return { detection_id: detection.id, indexes: indexesIn(detection, chosen) };
  }

  async #erase(photo) {
    if (await this.#guard.confirm(t("confirm.erase-one", { name: photo.name }), t("confirm.erase"))) await this.#work.erase(photo);
  }

  async #onUnshown(name) {
    const photo = this.#photos.opened;
    if (!photo || name === "before") {
      $("before-missing").hidden = !photo?.result;
      return;
    }
    // The address of a picture is valid for some minutes only.
    const news = await call("GET", `/v1/restorations/${photo.result.id}`).catch(() => null);
    if (!news?.result || this.#photos.opened !== photo) return;
    photo.result = news;
    this.#viewer.show(photo.beforeUrl, news.result.image.url, photoSize(photo), { keepView: true });
  }
}
