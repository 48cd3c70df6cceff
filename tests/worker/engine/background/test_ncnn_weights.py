"""ncnn weights: read unchanged, with the output of ncnn; damaged files are refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import ncnn
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from shared.errors import WeightsInvalid
from worker.engine.background.ncnn_weights import read_ncnn
from worker.engine.background.rrdbnet import RRDBConfig, RRDBNet, load_rrdbnet
from worker.engine.background.upscaler import Upscaler

FLOAT16 = struct.pack("<I", 0x01306B47)


def run_ncnn(binary: Path, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The reference: ncnn itself, in 32 bits; (3, 4H, 4W)."""
    net = ncnn.Net()
    net.opt.num_threads = 1
    for shortcut in ("packed", "storage", "arithmetic"):
        setattr(net.opt, f"use_fp16_{shortcut}", False)
    assert net.load_param(str(binary.with_suffix(".param"))) == 0
    assert net.load_model(str(binary)) == 0
    extractor = net.create_extractor()
    values = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32) / 255
    extractor.input("data", ncnn.Mat(values).clone())
    failed, answer = extractor.extract("output")
    assert failed == 0
    return np.array(answer)


def test_the_packaged_network_has_the_output_of_ncnn(
    packaged: Path, face: NDArray[np.uint8]
) -> None:
    network, face = load_rrdbnet(read_ncnn(packaged)), face[8:40, 12:36]
    assert network.config == RRDBConfig()
    x = torch.from_numpy(face.copy()).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        ours = network(x)[0].numpy()
    theirs = run_ncnn(packaged, face)
    assert theirs.shape == (3, 128, 96)
    assert theirs.std() > 0.1
    assert np.abs(ours - theirs).max() < 1e-3
    whole = Upscaler(network, torch.device("cpu"), "fp32").upscale(face)
    rounded = (theirs.clip(0, 1) * 255).round().transpose(1, 2, 0)
    assert np.abs(whole - rounded).max() <= 1


def write_ncnn(network: RRDBNet, folder: Path, *, half: bool) -> Path:
    """The files of a small network, with its convolutions only; other layers are not read."""
    text, data = ["7767517", "1 1", "Input in 0 1 data"], b""
    for name, conv in network.convolutions():
        sizes = f"0={conv.out_channels} 1=3 4=1 5=1 6={conv.weight.numel()}"
        text.append(f"Convolution {name} 1 1 data out {sizes}")
        weight = conv.weight.detach().numpy()
        if half:
            values = weight.astype("<f2").tobytes()
            data += FLOAT16 + values + bytes(-len(values) % 4)
        else:
            data += bytes(4) + weight.astype("<f4").tobytes()
        data += conv.bias.detach().numpy().astype("<f4").tobytes()
    folder.joinpath("tiny.param").write_text("\n".join(text) + "\n")
    folder.joinpath("tiny.bin").write_bytes(data)
    return folder / "tiny.bin"


@pytest.mark.parametrize("half", [False, True])
def test_weights_are_read_under_their_names(
    make_tiny: Callable[..., RRDBNet], tmp_path: Path, half: bool
) -> None:
    network = make_tiny(blocks=2)
    state = read_ncnn(write_ncnn(network, tmp_path, half=half))
    expected = network.state_dict()
    assert list(state) == list(expected)
    tolerance = 1e-2 if half else 0
    for key, tensor in expected.items():
        assert torch.allclose(state[key], tensor, rtol=tolerance, atol=tolerance)
    load_rrdbnet(state)


Change = tuple[Callable[[str], str], Callable[[bytes], bytes]]


def in_text(old: str, new: str) -> Change:
    return (lambda text: text.replace(old, new, 1)), (lambda data: data)


def in_data(change: Callable[[bytes], bytes]) -> Change:
    return (lambda text: text), change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (in_text("7767517", "7767518"), "does not begin like an ncnn model"),
        (in_text("Input in", "LSTM memory"), "no layer memory of type LSTM"),
        (in_text("1=3 4=1", "1=5 4=2"), "layer conv_first is not 3x3"),
        (in_text("0=8 ", ""), "layer conv_first names no sizes"),
        (in_text("0=8 ", "0=eight "), "layer conv_first names no sizes"),
        (in_text("0=8 ", "0=9 "), "layer conv_first has not the shape of conv_first"),
        (in_text("Convolution conv_hr", "Split conv_hr"), "20 convolutions do not make an RRDBNet"),
        (in_data(lambda data: data[:-3]), "tiny.bin ends in the middle of conv_last"),
        (in_data(lambda data: data + b"more"), "4 bytes more than its layers need"),
        (in_data(lambda data: b"\x48\x4d\x0d\0" + data[4:]), "0x000d4d48"),
        (in_data(lambda _: b""), "ends in the middle of conv_first"),
    ],
)
def test_the_error_names_a_damaged_file(
    make_tiny: Callable[..., RRDBNet], tmp_path: Path, change: Change, said: str
) -> None:
    binary = write_ncnn(make_tiny(), tmp_path, half=True)
    param = binary.with_suffix(".param")
    param.write_text(change[0](param.read_text()))
    binary.write_bytes(change[1](binary.read_bytes()))
    with pytest.raises(WeightsInvalid, match=said):
        read_ncnn(binary)


@pytest.mark.parametrize("gone", ["tiny.bin", "tiny.param"])
def test_the_error_names_a_missing_file_of_the_pair(
    make_tiny: Callable[..., RRDBNet], tmp_path: Path, gone: str
) -> None:
    binary = write_ncnn(make_tiny(), tmp_path, half=True)
    (tmp_path / gone).unlink()
    with pytest.raises(WeightsInvalid, match=gone):
        read_ncnn(binary)
