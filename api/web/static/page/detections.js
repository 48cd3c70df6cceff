// Detections: the faces of a photo that is not restored yet, to choose from; and the same faces found again.

import { Problem, call, upload } from "../common/api.js";
import { newId } from "../common/dom.js";

const WAIT_S = 20;

// Find the faces of a photo. Returns {id, size, faces}; throws Problem.
export async function findFaces(photo) {
  const form = new FormData();
  form.append("image", photo.file, "photo");
  let detection = await upload("/v1/detections", form, { "Idempotency-Key": newId() }, () => {});
  while (["queued", "running"].includes(detection.status)) {
    detection = await call("GET", `/v1/detections/${detection.id}?wait=${WAIT_S}`);
  }
  if (!detection.result) throw new Problem(detection.error ?? { code: "not-found" });
  const { photo: size, faces } = detection.result;
  return { id: detection.id, size: [size.width, size.height], faces };
}

const centre = ([left, top, right, bottom]) => [(left + right) / 2, (top + bottom) / 2];

function distance(one, other) {
  const [x, y] = centre(one.box);
  const [u, v] = centre(other.box);
  return Math.hypot(x - u, y - v);
}

// Indexes in a detection of faces of a result: their numbers differ, because a result numbers those that
// were too uncertain last.
export function indexesIn(detection, faces) {
  const nearest = (face) => detection.faces.reduce((best, one) => (distance(one, face) < distance(best, face) ? one : best));
  return faces.map((face) => nearest(face).index).sort((one, other) => one - other);
}
