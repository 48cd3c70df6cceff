from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from shared.errors import LicenceNotAccepted, ModelUnavailable, WeightsInvalid, WeightsMissing
from worker.engine import FaceOptions, load_restorer
from worker.engine.gpen.config import GpenConfig
from worker.engine.gpen.networks import build_generator
from worker.engine.load import load_detector
from worker.imaging.decode import Photo
from worker.imaging.geometry import TEMPLATES
from worker.weights.catalogue import (
    BETTER_DETECTOR,
    CATALOGUE,
    GPEN_LICENCE,
    STARTER,
    find_entry,
    template_of,
)
from worker.weights.model_entry import OPEN_LICENCES, ModelEntry, require_licence
from worker.weights.safe_loading import load_state
from worker.weights.verification import expected_sha256, file_sha256, verified_path, verify

OWN = ModelEntry("own", "own.pth", "own", template="ffhq", url="https://example.org/own.pth")


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=CATALOGUE)
def test_an_entry_is_complete(entry: ModelEntry) -> None:
    assert [entry.bundled, bool(entry.url), bool(entry.package)].count(True) == 1
    assert bool(entry.package) == bool(entry.extra)
    if entry.url:
        assert entry.url.startswith("https://")
    if entry.sha256:
        assert len(bytes.fromhex(entry.sha256)) == 32
    if entry.kind == "restorer" and not entry.bundled:
        assert entry.template in TEMPLATES
        assert entry.in_px
        assert entry.out_px


@pytest.mark.parametrize(
    "entry", [entry for entry in CATALOGUE.values() if entry.bundled], ids=lambda entry: entry.name
)
def test_the_weights_in_the_package_exist_and_have_their_hashes(
    entry: ModelEntry, tmp_path: Path
) -> None:
    assert entry.sha256, "an embedded file has its hash in the catalogue"
    path, sha256 = verified_path(entry, tmp_path)
    assert sha256 == entry.sha256
    assert entry.licence in OPEN_LICENCES
    assert not path.with_name(path.name + ".sha256").exists()


def test_the_starter_model_restores_without_a_download(tmp_path: Path) -> None:
    restorer = load_restorer(STARTER, models_dir=tmp_path, device="cpu", precision="fp32")
    info = restorer.info
    assert (info.name, info.licence, info.precision) == (
        STARTER,
        "Apache-2.0",
        "fp32",
    )
    assert (info.template, info.size_px) == ("ffhq", CATALOGUE[STARTER].out_px)
    assert info.detector == "retinaface-mobilenet0.25"
    grey = Photo.of_pixels(np.full((info.size_px, info.size_px, 3), 120, np.uint8))
    (face,) = restorer.restore(grey, FaceOptions(aligned=True)).faces
    assert face.status == "restored"
    restorer.close()


def test_an_own_file_is_a_model_with_its_name(models_dir: Path) -> None:
    restorer = load_restorer("tiny", models_dir=models_dir, device="cpu", precision="fp32")
    assert (restorer.info.size_px, restorer.info.template) == (32, "ffhq")
    assert restorer.info.sha256 == file_sha256(models_dir / "tiny.safetensors")
    restorer.close()
    assert not (models_dir / "tiny.safetensors.sha256").exists(), "its owner may train it further"


def test_the_same_photo_and_seed_give_the_same_bytes(
    tmp_path: Path, astronaut_pixels: np.ndarray
) -> None:
    """The super-resolving form draws noise: its seed decides."""
    torch.manual_seed(1)
    state = build_generator(GpenConfig(32, 64, 1, 0.125)).state_dict()
    for key in state:
        if key.endswith("noise.weight"):
            state[key] = torch.ones_like(state[key])
    tensors = {key: tensor.clone().contiguous() for key, tensor in state.items()}
    save_file(tensors, tmp_path / "larger.safetensors", metadata={"template": "gpen"})
    restorer = load_restorer("larger", models_dir=tmp_path, device="cpu", precision="fp32")
    photo = Photo.of_pixels(astronaut_pixels)
    one, same, other = (
        restorer.restore(photo, FaceOptions(seed=seed)).photo.pixels for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert restorer.info.size_px == 64
    restorer.close()


@pytest.mark.parametrize("name", ["nonsense", "../tiny", "", "TINY", "tiny.safetensors"])
def test_an_unknown_model_is_unavailable_and_the_error_names_the_known_ones(
    name: str, models_dir: Path
) -> None:
    with pytest.raises(ModelUnavailable, match="facemend-starter"):
        find_entry(name, models_dir)


def test_a_detector_cannot_be_used_as_a_restorer(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="is a detector, it does not restore faces"):
        load_restorer(BETTER_DETECTOR, models_dir=tmp_path)


def test_the_error_for_missing_weights_names_the_command_to_install_them(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="facemend models pull gpen-bfr-512"):
        load_restorer("gpen-bfr-512", models_dir=tmp_path, accepted_licences=[GPEN_LICENCE])


def test_a_licence_that_is_not_open_has_to_be_accepted(tmp_path: Path) -> None:
    with pytest.raises(LicenceNotAccepted, match="FACEMEND_ACCEPTED_LICENCES=gpen-non-commercial"):
        load_restorer("gpen-bfr-512", models_dir=tmp_path, accepted_licences=["other"])
    require_licence(CATALOGUE["gpen-bfr-512"], {GPEN_LICENCE})
    require_licence(CATALOGUE[STARTER], ())


def test_the_error_for_a_wrong_file_names_the_published_hash(tmp_path: Path) -> None:
    (tmp_path / "GPEN-BFR-512.pth").write_bytes(b"something else")
    with pytest.raises(WeightsInvalid, match="f1002c41add9"):
        load_restorer("gpen-bfr-512", models_dir=tmp_path, accepted_licences=[GPEN_LICENCE])


def test_the_first_hash_of_a_file_without_a_published_hash_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / OWN.file
    path.write_bytes(b"first")
    assert expected_sha256(OWN, path) is None
    first = verify(OWN, path)
    assert expected_sha256(OWN, path) == first
    assert verify(OWN, path) == first
    path.write_bytes(b"First")
    with pytest.raises(WeightsInvalid, match=first):
        verify(OWN, path)


def test_the_large_detector_is_used_if_its_file_exists_and_is_verified(tmp_path: Path) -> None:
    assert load_detector(tmp_path, torch.device("cpu")).name == "retinaface-mobilenet0.25"
    CATALOGUE[BETTER_DETECTOR].path(tmp_path).write_bytes(b"not it")
    with pytest.raises(WeightsInvalid, match="6d1de9c2944f"):
        load_detector(tmp_path, torch.device("cpu"))


class Malicious:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (Path("touched-by-a-pickle"),)  # type: ignore[return-value]


def test_a_pickle_that_would_run_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Malicious()}, tmp_path / "evil.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Malicious()))
    for name in ("evil.pth", "bare.pth"):
        with pytest.raises(WeightsInvalid):
            load_state(tmp_path / name)
    assert not (tmp_path / "touched-by-a-pickle").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("data", [b"", b"junk" * 100, b"\x80\x02."])
def test_a_damaged_file_is_invalid(tmp_path: Path, suffix: str, data: bytes) -> None:
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(data)
    with pytest.raises(WeightsInvalid):
        load_state(path)


def test_a_truncated_file_is_invalid(tmp_path: Path, models_dir: Path) -> None:
    state = load_file(models_dir / "tiny.safetensors")
    torch.save(state, tmp_path / "whole.pth")
    assert load_state(tmp_path / "whole.pth").keys() == state.keys()
    for path in (models_dir / "tiny.safetensors", tmp_path / "whole.pth"):
        cut = tmp_path / f"cut{path.suffix}"
        cut.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(WeightsInvalid):
            load_state(cut)


def test_a_list_of_tensors_is_no_state_dict(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(WeightsInvalid, match="no state dict"):
        load_state(tmp_path / "list.pth")


def test_an_unknown_template_is_invalid(tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"template": "passport"})
    with pytest.raises(WeightsInvalid, match="passport"):
        template_of(replace(OWN, template=None), path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(WeightsInvalid, match="ffhq"):
        template_of(replace(OWN, template=None), path)
    assert template_of(OWN, path) == "ffhq"
