"""Odd and broken photos through the whole service: a typed problem or a right result, never a 500.

What the API refuses by itself (fields, types, keys, addresses) is tested in tests/api.
"""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.origin import Origin, http

pytestmark = pytest.mark.e2e
Job = dict[str, Any]
Finish = Callable[..., Job]


@pytest.fixture(scope="module")
def face(astronaut: Path) -> Image.Image:
    """The astronaut's head and shoulders, 256 x 256."""
    with Image.open(astronaut) as photo:
        return photo.convert("RGB").crop((100, 0, 356, 256))


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _post(client: httpx.Client, photo: bytes, **request: Any) -> httpx.Response:
    files = {"image": ("photo", photo, "application/octet-stream")}
    if request:
        files["request"] = (None, json.dumps(request), "application/json")  # type: ignore[assignment]
    return client.post("/v1/restorations", files=files)


def _problem(client: httpx.Client, finish: Finish, photo: bytes) -> str:
    """The code of the problem, wherever it is found: at the door or by the worker."""
    answer = _post(client, photo)
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"].startswith("application/problem+json")
        return str(answer.json()["code"])
    job = finish(answer.json()["id"])
    assert job["status"] == "failed"
    return str(job["error"]["code"])


def _restored(client: httpx.Client, finish: Finish, photo: bytes) -> tuple[Job, Image.Image]:
    # the astronaut is sharp, and is to be restored all the same
    answer = _post(client, photo, options={"skip_sharp": False})
    assert answer.status_code == 202, answer.text
    job = finish(answer.json()["id"])
    assert job["status"] == "succeeded", job["error"]
    data = httpx.get(job["result"]["image"]["url"], trust_env=False).content
    return job, Image.open(io.BytesIO(data))


def _brightness(image: Image.Image) -> float:
    """0…255, also of a picture that kept its 16 bits."""
    if image.mode.startswith("I"):
        return float(np.asarray(image, dtype=float).mean() / 257)
    return float(np.asarray(image.convert("L"), dtype=float).mean())


def _bomb() -> bytes:
    return _encoded(Image.new("1", (20_000, 20_000)), "PNG", optimize=False)


@pytest.mark.parametrize(
    ("photo", "code"),
    [
        pytest.param(b"", "unsupported-image", id="no bytes at all"),
        pytest.param(b"only words" * 100, "unsupported-image", id="a text"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported-image", id="SVG"),
        pytest.param(b"%PDF-1.7\n" + bytes(500), "unsupported-image", id="PDF"),
        pytest.param(_encoded(Image.new("RGB", (1, 1)), "PNG"), "unsupported-image", id="1 x 1"),
        pytest.param(_bomb(), "image-too-many-pixels", id="20,000 x 20,000 in a few KB"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "corrupt-image", id="a PNG's signature alone"),
        pytest.param(bytes(60_000_000), "payload-too-large", id="60 MB"),
    ],
)
def test_a_file_that_cannot_be_restored_gives_a_problem(
    client: httpx.Client, finish: Finish, photo: bytes, code: str
) -> None:
    assert _problem(client, finish, photo) == code


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_a_truncated_photo_is_corrupt(
    client: httpx.Client, finish: Finish, face: Image.Image, kept: float
) -> None:
    whole = _encoded(face, "JPEG", quality=90)
    assert _problem(client, finish, whole[: int(len(whole) * kept)]) == "corrupt-image"


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_only_the_first_frame_of_an_animation_is_restored_with_a_warning(
    client: httpx.Client, finish: Finish, face: Image.Image, kind: str
) -> None:
    frames = [face, Image.new("RGB", face.size, "red")]
    animation = _encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
    job, restored = _restored(client, finish, animation)
    assert any("first" in warning for warning in job["warnings"])
    assert restored.size == face.size
    assert len(job["result"]["faces"]) == 1


@pytest.mark.parametrize(
    ("convert", "kind"),
    [
        pytest.param(lambda image: image.convert("CMYK"), "JPEG", id="CMYK"),
        pytest.param(lambda image: image.convert("L"), "PNG", id="grey"),
        pytest.param(lambda image: image.quantize(64), "PNG", id="palette"),
        pytest.param(
            lambda image: Image.fromarray(np.asarray(image.convert("L"), dtype=np.uint16) * 257),
            "PNG",
            id="16 bit",
        ),
        pytest.param(lambda image: image, "TIFF", id="TIFF"),
    ],
)
def test_every_way_to_store_colours_gives_a_photo_with_the_right_brightness(
    client: httpx.Client,
    finish: Finish,
    face: Image.Image,
    convert: Callable[[Image.Image], Image.Image],
    kind: str,
) -> None:
    job, restored = _restored(client, finish, _encoded(convert(face), kind))
    assert [one["status"] for one in job["result"]["faces"]] == ["restored"]
    assert abs(_brightness(restored) - _brightness(face)) < 12


def test_grey_stays_grey(client: httpx.Client, finish: Finish, face: Image.Image) -> None:
    _, restored = _restored(client, finish, _encoded(face.convert("L"), "PNG"))
    pixels = np.asarray(restored.convert("RGB"))
    assert (pixels == pixels[..., :1]).all()


def test_transparency_is_kept(client: httpx.Client, finish: Finish, face: Image.Image) -> None:
    with_alpha = face.copy()
    with_alpha.putalpha(Image.linear_gradient("L"))
    _, restored = _restored(client, finish, _encoded(with_alpha, "PNG"))
    assert restored.mode == "RGBA"
    np.testing.assert_array_equal(
        np.asarray(restored.getchannel("A")), np.asarray(Image.linear_gradient("L"))
    )


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_photo_rotated_by_exif_comes_back_upright(
    client: httpx.Client, finish: Finish, face: Image.Image, orientation: int
) -> None:
    upright = face.crop((0, 0, 240, 256))
    turned = upright.rotate({3: 180, 6: 90, 8: 270}[orientation], expand=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    _, restored = _restored(client, finish, _encoded(turned, "JPEG", quality=95, exif=exif))
    assert restored.size == upright.size
    assert not restored.getexif()


def test_a_photo_without_a_face_comes_back_unchanged_with_a_warning(
    client: httpx.Client, finish: Finish
) -> None:
    photo = Image.linear_gradient("L").convert("RGB")
    job, restored = _restored(client, finish, _encoded(photo, "PNG"))
    assert job["result"]["faces"] == []
    assert any("No face" in warning for warning in job["warnings"])
    np.testing.assert_array_equal(np.asarray(restored.convert("RGB")), np.asarray(photo))


def test_with_strict_a_photo_without_a_face_fails(client: httpx.Client, finish: Finish) -> None:
    photo = _encoded(Image.linear_gradient("L"), "PNG")
    answer = _post(client, photo, options={"strict": True})
    job = finish(answer.json()["id"])
    assert (job["status"], job["error"]["code"]) == ("failed", "no-face-found")


def test_a_redirect_to_a_file_is_not_followed(client: httpx.Client, finish: Finish) -> None:
    origin = Origin()
    try:
        origin.answers["/photo.jpg"] = http("302 Found", b"", "Location: file:///etc/passwd")
        answer = client.post(
            "/v1/restorations",
            json={"input": {"url": origin.url("/photo.jpg")}},
        )
        assert answer.status_code == 202, answer.text
        job = finish(answer.json()["id"])
    finally:
        origin.close()
    assert (job["status"], job["error"]["code"]) == ("failed", "input-forbidden")


def test_an_unreachable_webhook_does_not_harm_its_job(
    client: httpx.Client, finish: Finish, face: Image.Image
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    webhook = {"url": f"http://127.0.0.1:{port}/"}
    answer = _post(client, _encoded(face, "PNG"), webhook=webhook)
    assert finish(answer.json()["id"])["status"] == "succeeded"
