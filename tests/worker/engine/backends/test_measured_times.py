from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from tests.worker.engine.backends.conftest import CPU
from worker.engine.backends.measured_times import (
    OWN_NAME,
    SHIPPED,
    Figure,
    fastest_first,
    machine_name,
    read_figures,
    write_figures,
)

HERE = machine_name(CPU)
TORCH = Figure("cpu", "another", 512, "fp32", "torch", 1, 3000.0)
OPENVINO = replace(TORCH, backend="openvino", ms_per_face=2000.0)


def test_the_fastest_comes_first() -> None:
    assert fastest_first([TORCH, OPENVINO], CPU, 512) == [OPENVINO, TORCH]


def test_figures_of_this_machine_go_before_those_of_another() -> None:
    own = replace(TORCH, machine=HERE)
    assert fastest_first([OPENVINO, own], CPU, 512) == [own]


def test_figures_of_the_nearest_size_count() -> None:
    small = replace(TORCH, size_px=256, backend="onnxruntime")
    assert fastest_first([OPENVINO, small], CPU, 128) == [small]
    assert fastest_first([OPENVINO, small], CPU, 2048) == [OPENVINO]


def test_figures_of_another_kind_of_device_say_nothing() -> None:
    assert fastest_first([replace(TORCH, device="cuda")], CPU, 512) == []


def test_new_figures_replace_old_ones_of_the_same_machine_and_size(tmp_path: Path) -> None:
    file = tmp_path / OWN_NAME
    other_size = replace(TORCH, size_px=256)
    write_figures(file, [TORCH, OPENVINO, other_size])
    newer = replace(TORCH, ms_per_face=1.0)
    write_figures(file, [newer])
    assert read_figures(tmp_path)[:2] == [other_size, newer]
    assert OPENVINO not in read_figures(tmp_path)


def test_a_broken_file_is_told_of_and_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shipped = read_figures(tmp_path)
    (tmp_path / OWN_NAME).write_text('[{"device": "cpu"}]')
    with caplog.at_level(logging.WARNING):
        assert read_figures(tmp_path) == shipped
    assert OWN_NAME in caplog.text


def test_the_package_comes_with_figures_that_can_be_read() -> None:
    assert SHIPPED.is_file()
    for figure in read_figures(Path("no-such-folder")):
        assert figure.ms_per_face > 0
        assert figure.batch >= 1
