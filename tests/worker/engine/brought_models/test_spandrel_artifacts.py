"""GFPGAN and RestoreFormer of random weights, against the networks that spandrel itself gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from shared.errors import ModelUnavailable, WeightsInvalid
from worker.engine.backends.backend import crops_to_images
from worker.engine.backends.backend_selection import load_backend
from worker.engine.backends.self_check import face_like
from worker.engine.brought_models.spandrel_artifacts import SpandrelArtifacts
from worker.engine.devices import CPU
from worker.engine.faces.torchvision_compat import import_torchvision
from worker.weights.model_entry import ModelEntry
from worker.weights.verification import file_sha256


def artifacts_of(path: Path, side: int) -> SpandrelArtifacts:
    entry = ModelEntry(
        "other", path.name, "own", format="spandrel", in_px=side, out_px=side, template="ffhq"
    )
    return SpandrelArtifacts(path.parent / "exported", path, file_sha256(path), entry)


def restoreformer() -> nn.Module:
    """The smallest: 8 channels at full size; the structure is that of the published one."""
    import_torchvision()
    from spandrel.architectures.RestoreFormer import RestoreFormer

    torch.manual_seed(2)
    made: nn.Module = RestoreFormer(n_embed=16, embed_dim=32, ch=32, z_channels=32)
    with torch.no_grad():
        made.decoder.conv_out.weight *= 0.5  # so that the output is within the range
    return made.eval()


def gfpgan() -> nn.Module:
    import_torchvision()
    from spandrel.architectures.GFPGAN import GFPGAN

    torch.manual_seed(2)
    return GFPGAN().eval()  # type: ignore[no-any-return]


def saved(folder: Path, network: nn.Module, inside: str | None) -> Path:
    state: dict[str, Any] = dict(network.state_dict())
    torch.save({inside: state} if inside else state, folder / "other.pth")
    return folder / "other.pth"


def test_restoreformer_answers_as_the_network_of_spandrel(
    tmp_path: Path, one_torch_thread: None
) -> None:
    network = restoreformer()
    artifacts = artifacts_of(saved(tmp_path, network, "params_ema"), 64)
    backend, _ = load_backend(artifacts, CPU)
    assert (backend.name, backend.precision) == ("torch", "fp32")
    assert not backend.has_controls
    images = crops_to_images([face_like(64)])
    with torch.inference_mode():
        expected = network(torch.from_numpy(images))[0].numpy()
    np.testing.assert_allclose(backend.infer(images), expected, atol=1e-4)


@pytest.mark.timeout(600)  # 90 million weights: this architecture has no smaller form
def test_gfpgan_answers_as_the_network_of_spandrel_with_the_noise_in_its_file(
    tmp_path: Path, one_torch_thread: None
) -> None:
    network = gfpgan()
    images = crops_to_images([face_like(512)])
    with torch.inference_mode():
        raw = network(torch.from_numpy(images), return_rgb=False, randomize_noise=False)[0]
        for layer in (network.stylegan_decoder.to_rgb1, *network.stylegan_decoder.to_rgbs):
            layer.modulated_conv.weight /= 3 * raw.std()
        expected = network(torch.from_numpy(images), return_rgb=False, randomize_noise=False)[0]
    backend, _ = load_backend(artifacts_of(saved(tmp_path, network, "params_ema"), 512), CPU)
    np.testing.assert_allclose(backend.infer(images), expected.numpy(), atol=1e-3)
    np.testing.assert_array_equal(backend.infer(images), backend.infer(images))


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, nn.Linear(3, 3), None)
    with pytest.raises(WeightsInvalid, match=r"other.pth.* not those of GFPGAN"):
        artifacts_of(path, 512).self_check  # noqa: B018


def test_a_checkpoint_of_which_a_part_is_missing_is_refused(tmp_path: Path) -> None:
    network = restoreformer()
    del network.decoder.norm_out
    with pytest.raises(WeightsInvalid, match="cannot be loaded"):
        artifacts_of(saved(tmp_path, network, None), 64).self_check  # noqa: B018


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"params_ema": Path("code")}, tmp_path / "other.pth")
    with pytest.raises(WeightsInvalid, match="nothing in it was loaded or run"):
        artifacts_of(tmp_path / "other.pth", 512).self_check  # noqa: B018


def test_onnx_runtime_is_refused_in_words(tmp_path: Path) -> None:
    artifacts = artifacts_of(saved(tmp_path, restoreformer(), None), 64)
    with pytest.raises(ModelUnavailable, match="onnxruntime does not run this model"):
        load_backend(artifacts, CPU, backend="onnxruntime")
