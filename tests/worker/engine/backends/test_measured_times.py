from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from tests.worker.engine.backends.conftest import CPU
from worker.engine.backends.measured_times import (
    OWN_NAME,
    SHIPPED,
    MeasuredTime,
    fastest_first,
    machine_name,
    read_measured_times,
    write_measured_times,
)

HERE = machine_name(CPU)
TORCH = MeasuredTime("cpu", "another", 512, "fp32", "torch", 1, 3000.0)
OPENVINO = replace(TORCH, backend="openvino", ms_per_face=2000.0)


def test_the_fastest_comes_first() -> None:
    assert fastest_first([TORCH, OPENVINO], CPU, 512) == [OPENVINO, TORCH]


def test_times_of_this_machine_have_precedence_over_those_of_another() -> None:
    own = replace(TORCH, machine=HERE)
    assert fastest_first([OPENVINO, own], CPU, 512) == [own]


def test_times_of_the_nearest_size_count() -> None:
    small = replace(TORCH, size_px=256, backend="onnxruntime")
    assert fastest_first([OPENVINO, small], CPU, 128) == [small]
    assert fastest_first([OPENVINO, small], CPU, 2048) == [OPENVINO]


def test_times_of_another_kind_of_device_do_not_count() -> None:
    assert fastest_first([replace(TORCH, device="cuda")], CPU, 512) == []


def test_new_times_replace_old_ones_of_the_same_machine_and_size(tmp_path: Path) -> None:
    file = tmp_path / OWN_NAME
    other_size = replace(TORCH, size_px=256)
    write_measured_times(file, [TORCH, OPENVINO, other_size])
    newer = replace(TORCH, ms_per_face=1.0)
    write_measured_times(file, [newer])
    assert read_measured_times(tmp_path)[:2] == [other_size, newer]
    assert OPENVINO not in read_measured_times(tmp_path)


def test_a_broken_file_is_logged_and_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shipped = read_measured_times(tmp_path)
    (tmp_path / OWN_NAME).write_text('[{"device": "cpu"}]')
    with caplog.at_level(logging.WARNING):
        assert read_measured_times(tmp_path) == shipped
    assert OWN_NAME in caplog.text


def test_the_measured_times_of_the_package_can_be_read() -> None:
    assert SHIPPED.is_file()
    for figure in read_measured_times(Path("no-such-folder")):
        assert figure.ms_per_face > 0
        assert figure.batch >= 1
