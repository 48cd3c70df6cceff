"""What a person chooses on the page, as whole jobs: background, "keep the person", presets."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageOps
from playwright.sync_api import expect

from tests.e2e.page.visitor import Visitor

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
Visit = Callable[..., Visitor]
Job = dict[str, Any]
#: What the page sends for each preset, apart from the defaults.
PRESETS: dict[str, dict[str, Any]] = {
    "old": {"keep_colour": True},
    "group": {"min_face_px": 8, "detection_threshold": 0.7, "max_faces": 500},
    "small": {"background": "x2", "strength": 0.8},
}


@pytest.fixture
def photo(portraits: tuple[Image.Image, Image.Image], tmp_path: Path) -> Path:
    """A small, brown portrait."""
    small = portraits[0].resize((170, 200), Image.Resampling.LANCZOS)
    path = tmp_path / "brown.png"
    ImageOps.colorize(ImageOps.grayscale(small), "#20150b", "#f4e6cc").save(path)
    return path


@pytest.fixture
def restored(visit: Visit, photo: Path, client: httpx.Client) -> Callable[..., Job]:
    """Choose the fields of the settings with these ids, restore, and return the job."""

    def restored(*choices: str, path: Path = photo) -> Job:
        visitor = visit()
        visitor.add([path])
        for choice in choices:
            visitor.page.locator(f"label[for={choice}]").click()
            expect(visitor.page.locator(f"#{choice}")).to_be_checked()
        visitor.restore()
        visitor.wait_until_done()
        job: Job = client.get("/v1/restorations", params={"limit": 1}).json()["data"][0]
        assert job["status"] == "succeeded", job["error"]
        assert job["warnings"] == []
        return job

    return restored


def picture_of(job: Job) -> Image.Image:
    data = httpx.get(job["result"]["image"]["url"], trust_env=False).content
    return Image.open(io.BytesIO(data)).convert("RGB")


def differences(job: Job, photo: Path) -> np.ndarray[Any, Any]:
    """How far each value of the result (0 to 255) is from the photo in the same size."""
    result = picture_of(job)
    with Image.open(photo) as original:
        before = original.convert("RGB").resize(result.size, Image.Resampling.BICUBIC)
    return np.abs(np.asarray(result, np.float32) - np.asarray(before, np.float32))


def outside_faces(job: Job, values: np.ndarray[Any, Any], scale: int) -> np.ndarray[Any, Any]:
    """The values that are far from every face."""
    mask = np.ones(values.shape[:2], bool)
    for face in job["result"]["faces"]:
        left, top, right, bottom = (int(scale * value) for value in face["box"])
        wide, high = right - left, bottom - top
        mask[max(0, top - high) : bottom + high, max(0, left - wide) : right + wide] = False
    return values[mask]


@pytest.mark.parametrize("scale", [2, 4])
def test_the_background_is_enlarged_as_chosen(
    restored: Callable[..., Job], photo: Path, scale: int
) -> None:
    job = restored(f"background-x{scale}")
    assert job["options"]["background"] == f"x{scale}"
    assert [face["status"] for face in job["result"]["faces"]] == ["restored"]
    assert picture_of(job).size == (170 * scale, 200 * scale)
    assert (job["result"]["image"]["width"], job["result"]["image"]["height"]) == (
        170 * scale,
        200 * scale,
    )
    assert differences(job, photo).mean() < 12, "it is the same photo"


def test_keep_the_person_restores_a_face_only_if_it_stays_that_of_the_person(
    restored: Callable[..., Job], group_photo: Path
) -> None:
    job = restored("o-keep_person", path=group_photo)
    assert job["options"]["min_identity"] == 0.5
    faces = job["result"]["faces"]
    assert len(faces) == 3
    for face in faces:
        assert face["identity_similarity"] is not None
        kept = face["identity_similarity"] < 0.5
        assert (face["status"], face["reason"]) == (
            ("skipped", "identity_too_low") if kept else ("restored", None)
        )


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_sent_as_it_says(
    restored: Callable[..., Job], photo: Path, group_photo: Path, preset: str
) -> None:
    chosen = group_photo if preset == "group" else photo
    job = restored(f"preset-{preset}", path=chosen)
    defaults = {"background": "keep", "strength": 1, "keep_colour": False, "min_identity": None}
    wanted = {**defaults, **PRESETS[preset]}
    assert {name: job["options"][name] for name in wanted} == wanted
    faces = [face["status"] for face in job["result"]["faces"]]
    assert faces == ["restored"] * (3 if preset == "group" else 1)
    found = differences(job, chosen)
    if preset == "small":
        assert picture_of(job).size == (340, 400)
    else:
        assert outside_faces(job, found, 1).max(initial=0) == 0, "only faces have changed"
        assert found.max() > 10
    if preset == "old":
        with Image.open(photo) as original:
            before = np.asarray(original.convert("YCbCr"), np.float32)[..., 1:]
        after = np.asarray(picture_of(job).convert("YCbCr"), np.float32)[..., 1:]
        assert np.abs(after - before).mean() < 1.5, "it is as brown as before"
