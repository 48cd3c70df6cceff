// Saving results: one picture, a comparison, or many pictures as one ZIP archive.

import { Problem } from "../common/api.js";
import { make } from "../common/dom.js";
import { t } from "../common/language.js";
import { Zip } from "./zip.js";

const GAP_PX = 8;
const LARGEST_SIDE_PX = 4096; // of a comparison

function save(blob, name) {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

const stem = (name) => name.replace(/\.[^.]{1,5}$/, "");
const ENDS = { jpeg: "jpg", png: "png", webp: "webp" };

async function fetchPicture(image) {
  const response = await fetch(image.url).catch(() => null);
  if (!response) throw new Problem({ code: "storage-closed" });
  if (!response.ok) throw new Problem({ code: "link-ended", detail: `HTTP ${response.status}` });
  return response.blob();
}

export async function saveResult(photo) {
  const { image } = photo.result.result;
  let blob;
  try {
    blob = await fetchPicture(image);
  } catch (error) {
    if (error.code !== "storage-closed") throw error;
    return location.assign(image.url); // the storage sends it as an attachment, under a name of its own
  }
  return save(blob, `${stem(photo.name)}-${t("file.restored")}.${ENDS[image.format]}`);
}

export async function saveZip(photos, onProgress) {
  const zip = new Zip();
  for (const [index, photo] of photos.entries()) {
    onProgress(index, photos.length);
    const { image } = photo.result.result;
    await zip.add(`${stem(photo.name)}-${t("file.restored")}.${ENDS[image.format]}`, await fetchPicture(image));
  }
  save(zip.finish(), `facemend-${new Date().toISOString().slice(0, 10)}.zip`);
}

// The photo before and after, side by side, as a JPEG; made here, from what the page has.
export async function saveComparison(photo) {
  const after = await createImageBitmap(await fetchPicture(photo.result.result.image));
  const before = await createImageBitmap(photo.file);
  const scale = Math.min(1, LARGEST_SIDE_PX / Math.max(after.width, after.height));
  const width = Math.round(after.width * scale);
  const height = Math.round(after.height * scale);
  const canvas = new OffscreenCanvas(2 * width + GAP_PX, height);
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, height);
  pen.drawImage(before, 0, 0, width, height);
  pen.drawImage(after, width + GAP_PX, 0, width, height);
  save(await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 }), `${stem(photo.name)}-${t("file.comparison")}.jpg`);
}
