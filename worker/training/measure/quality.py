"""How good restored photos are beside the sharp ones: a table with a row for each set of them.

What is measured is what a customer gets: photos go through the restorer, not the bare network.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import DatasetError
from worker.engine import FaceOptions, FaceRecord, Restorer
from worker.engine.faces.identity import SAME_PERSON, SAME_PERSON_DISTANCE, Embedder, similarity_at
from worker.imaging.decode import Photo
from worker.training.data.degradations import RECIPES, Image
from worker.training.data.photos import Photos
from worker.training.measure.perceptual import Fid, Lpips
from worker.training.measure.sharpness import Features, feature_distance, gradient_ratio
from worker.training.measure.validation import SEED, degrade_all, measure

_IN_FLIGHT = 4
_MIN_SIDE_PX = 16
#: The five landmarks of a photo, or None where it shows no face.
FindLandmarks = Callable[[Image], NDArray[np.float64] | None]


@dataclass(frozen=True)
class Row:
    """One set of images against the references; None: not measured.

    `psnr_db` is None for equal images too. `identity` is the mean likeness of the persons,
    `recognised` the share of faces at or above the likeness that tells persons apart; `distance`
    and `lost` are the same two in dlib's distances: the lower, the nearer. `gradient` is the
    sharpness over the original's, `features` the distance in a face detector's features.
    """

    name: str
    psnr_db: float | None = None
    ssim: float | None = None
    identity: float | None = None
    recognised: float | None = None
    distance: float | None = None
    lost: float | None = None
    gradient: float | None = None
    features: float | None = None
    lpips: float | None = None
    fid: float | None = None


_COLUMNS = (
    ("psnr_db", "PSNR dB", ".2f"),
    ("ssim", "SSIM", ".4f"),
    ("identity", "identity", ".3f"),
    ("recognised", f"identity ≥ {SAME_PERSON}", ".0%"),
    ("distance", "distance", ".3f"),
    ("lost", "lost", ".0%"),
    ("gradient", "gradient", ".2f"),
    ("features", "features", ".3f"),
    ("lpips", "LPIPS", ".4f"),
    ("fid", "FID", ".2f"),
)


@dataclass(frozen=True)
class Table:
    """`about` says what was measured: photos, model, damage."""

    about: dict[str, Any]
    rows: tuple[Row, ...]

    def as_dict(self) -> dict[str, Any]:
        return {**self.about, "rows": [asdict(row) for row in self.rows]}

    def markdown(self) -> str:
        """Only the columns that were measured."""
        shown = [
            (key, title, form)
            for key, title, form in _COLUMNS
            if any(getattr(row, key) is not None for row in self.rows)
        ]
        head = ", ".join(f"{key} {value}" for key, value in self.about.items())
        lines = [
            f"| {' | '.join([head, *(title for _, title, _ in shown)])} |",
            f"|{'---|' * (len(shown) + 1)}",
        ]
        for row in self.rows:
            cells = [_cell(getattr(row, key), form) for key, _, form in shown]
            lines.append(f"| {' | '.join([row.name, *cells])} |")
        return "\n".join(lines)


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


@dataclass(frozen=True)
class Judge:
    """What to measure beside PSNR and SSIM: each only if its network is given."""

    embedder: Embedder | None = None
    landmarks: FindLandmarks = lambda _: None
    lpips: Lpips | None = None
    fid: Fid | None = None
    features: Features | None = None

    def row(self, name: str, images: Sequence[Image], references: Sequence[Image]) -> Row:
        """Compare images with references of the same size, pair by pair.

        Raises DatasetError for pictures that are too few or too small for a figure.
        """
        if min(min(image.shape[:2]) for image in references) < _MIN_SIDE_PX:
            raise DatasetError(f"pictures of less than {_MIN_SIDE_PX} px cannot be compared")
        figures = measure(images, references)
        return Row(
            name=name,
            psnr_db=figures.psnr_db if math.isfinite(figures.psnr_db) else None,
            ssim=figures.ssim,
            lpips=self._lpips(images, references),
            fid=round(self.fid.distance(images, references), 3) if self.fid else None,
            **_identity(self.distances(images, references)),
            **self._sharpness(images, references),
        )

    def _lpips(self, images: Sequence[Image], references: Sequence[Image]) -> float | None:
        if self.lpips is None:
            return None
        pairs = zip(images, references, strict=True)
        return round(statistics.fmean(self.lpips.distance(*pair) for pair in pairs), 4)

    def distances(self, images: Sequence[Image], references: Sequence[Image]) -> list[float]:
        """Return the embedder's distance of each pair whose reference shows a face.

        The list is empty without an embedder.
        """
        if self.embedder is None:
            return []
        found = []
        for image, reference in zip(images, references, strict=True):
            points = self.landmarks(reference)
            if points is not None:
                ours, theirs = (self.embedder.embed(each, points) for each in (image, reference))
                found.append(float(np.linalg.norm(ours - theirs)))
        return found

    def _sharpness(self, images: Sequence[Image], references: Sequence[Image]) -> dict[str, float]:
        """Only for square crops: elsewhere the face would have to be cut out first."""
        if self.features is None or any(len(each) != each.shape[1] for each in references):
            return {}
        gradients, distances = [], []
        for image, reference in zip(images, references, strict=True):
            points = self.landmarks(reference)
            if points is not None:
                gradients.append(gradient_ratio(image, reference, points))
                distances.append(feature_distance(image, reference, self.features))
        if not gradients:
            return {}
        return {
            "gradient": round(statistics.fmean(gradients), 4),
            "features": round(statistics.fmean(distances), 4),
        }


def _identity(distances: Sequence[float]) -> dict[str, float]:
    if not distances:
        return {}
    lost = sum(each > SAME_PERSON_DISTANCE for each in distances) / len(distances)
    return {
        "identity": round(statistics.fmean(similarity_at(each) for each in distances), 4),
        "recognised": round(1.0 - lost, 4),
        "distance": round(statistics.fmean(distances), 4),
        "lost": round(lost, 4),
    }


def of_model(
    judge: Judge,
    restorer: Restorer,
    photos: Photos,
    *,
    damage: str,
    seed: int | None = None,
    skip_sharp: bool = True,
) -> tuple[Table, list[Image]]:
    """The table of a model on aligned photos, and the contact sheet's rows.

    `damage` is `none` or the name of a recipe; with `skip_sharp` faces that are sharp enough stay
    as they are. The row `ledger` is what a customer would be told: restored faces beside what they
    were restored from.
    """
    seed, sharp = SEED if seed is None else seed, list(photos.images)
    given = sharp if damage == "none" else degrade_all(photos, RECIPES[damage], seed)
    options = FaceOptions(
        aligned=True, skip_sharp=skip_sharp, min_identity=0.0 if judge.embedder else None
    )

    def restore(image: Image) -> tuple[Image, FaceRecord]:
        done = restorer.restore(Photo.of_pixels(image), options)
        return done.photo.pixels, done.faces[0]

    with ThreadPoolExecutor(_IN_FLIGHT) as pool:
        restored, faces = zip(*pool.map(restore, given), strict=True)
    rows = [judge.row("degraded", given, sharp), judge.row("restored", restored, sharp)]
    told = [face.identity_similarity for face in faces if face.identity_similarity is not None]
    if told:
        name, same = "ledger: restored against degraded", sum(each >= SAME_PERSON for each in told)
        identity, recognised = round(statistics.fmean(told), 4), round(same / len(told), 4)
        rows.append(Row(name, identity=identity, recognised=recognised))
    info = restorer.info
    about = {
        "photos": len(sharp),
        "left alone": sum(face.status != "restored" for face in faces),
        "px": photos.size,
        "damage": damage,
        "seed": seed,
        "model": info.name,
        "sha256": info.sha256[:12],
        "backend": f"{info.backend} {info.precision}",
    }
    lines = zip(given, restored, sharp, strict=True)
    return Table(about, tuple(rows)), [np.concatenate(line, axis=1) for line in lines]


def of_pictures(
    judge: Judge, restored: Mapping[str, Image], references: Mapping[str, Image]
) -> tuple[Table, list[Image]]:
    """The table of pictures that lie in two folders by the same names, suffixes apart.

    Raises DatasetError naming the picture that has no partner or another size.
    """
    ours, theirs = _by_stem(restored), _by_stem(references)
    if lonely := sorted(ours.keys() ^ theirs.keys()):
        raise DatasetError(f"{lonely[0]} is in one of the two folders only")
    for name in sorted(ours):
        if ours[name].shape != theirs[name].shape:
            raise DatasetError(
                f"{name} is {_size(ours[name])} restored and {_size(theirs[name])} sharp"
            )
    pairs = [(ours[name], theirs[name]) for name in sorted(ours)]
    row = judge.row("restored", [pair[0] for pair in pairs], [pair[1] for pair in pairs])
    return Table({"photos": len(pairs)}, (row,)), [np.concatenate(pair, axis=1) for pair in pairs]


def _by_stem(images: Mapping[str, Image]) -> dict[str, Image]:
    return {str(PurePosixPath(name).with_suffix("")): image for name, image in images.items()}


def _size(image: Image) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"
