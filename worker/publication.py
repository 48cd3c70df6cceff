"""The publication of a result: picture, comparison and crops as objects, and what the record says.

Keys hold the lease token, so a worker that lost its job can only write orphans.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from shared.errors import PublishFailed, Unavailable
from shared.jobs import Job
from shared.schemas import ImageFormat
from shared.storage import ObjectStorage, file_key, result_key
from worker.engine import (
    FaceRecord,
    ModelInfo,
    Photo,
    Restoration,
    comparison,
    encode,
    output_format,
)

_CONTENT_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
_COMPARISON_QUALITY = 90


@dataclass(frozen=True, slots=True)
class Publication:
    """Where the objects of one run go. Storage that fails becomes PublishFailed."""

    storage: ObjectStorage
    job: Job
    token: str

    def publish(self, before: Photo, restoration: Restoration, info: ModelInfo) -> dict[str, Any]:
        """Store what the request asks for; the job's ``result`` as the record keeps it."""
        output, after = self.job.request["output"], restoration.photo
        kind = output_format(before, output["format"])
        compared = None
        if output["comparison"]:
            pair = Photo.of_pixels(comparison(before.pixels, after.pixels))
            compared = self._store("comparison", pair, "jpeg", _COMPARISON_QUALITY)
        return {
            "image": self._store("restored", after, kind, output["quality"]),
            "comparison": compared,
            "faces": [self._face(face, output["face_crops"]) for face in restoration.faces],
            "model": {
                "name": info.name,
                "sha256": info.sha256,
                "precision": info.precision,
                "backend": info.backend,
            },
            "background": restoration.background and asdict(restoration.background),
        }

    def copy_to_tenant(self, image: dict[str, Any]) -> None:
        """Put the picture under the key that the request names.

        That key carries no token: ask first whether the job is still ours.
        """
        wanted = self.job.request["output"]["key"]
        data = self.storage.get(image["key"], max_bytes=image["bytes"])
        self._put(file_key(self.job.tenant, wanted), data, image["format"])

    def _store(self, name: str, photo: Photo, kind: ImageFormat, quality: int) -> dict[str, Any]:
        data = encode(photo, kind, quality)
        key = result_key(self.job.tenant, self.job.id, self.token, f"{name}.{kind}")
        self._put(key, data, kind)
        height, width = photo.pixels.shape[:2]
        return {
            "key": key,
            "width": width,
            "height": height,
            "format": kind,
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }

    def _put(self, key: str, data: bytes, kind: str) -> None:
        try:
            self.storage.put(key, data, _CONTENT_TYPES[kind])
        except Unavailable as error:
            raise PublishFailed(error.detail) from error

    def _face(self, face: FaceRecord, with_crops: bool) -> dict[str, Any]:
        crop = None
        if with_crops and face.crop_before is not None and face.crop_after is not None:
            crops = {"before": face.crop_before, "after": face.crop_after}
            crop = {
                f"{name}_key": self._store(
                    f"face-{face.index}-{name}", Photo.of_pixels(pixels), "png", 95
                )["key"]
                for name, pixels in crops.items()
            }
        return {
            "index": face.index,
            "box": [round(float(value), 2) for value in face.box],
            "landmarks": [[round(float(x), 2), round(float(y), 2)] for x, y in face.landmarks],
            "score": round(float(face.score), 4),
            "status": face.status,
            "reason": face.reason,
            "identity_similarity": _rounded(face.identity_similarity),
            "crop": crop,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
