from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from shared.errors import ModelUnavailable
from worker.engine.devices import (
    autocast,
    choose_device,
    choose_precision,
    cpu_name,
    is_out_of_memory,
)

CPU = torch.device("cpu")


def test_auto_is_cuda_if_it_is_available() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert str(choose_device("cpu")) == str(CPU)


def test_the_processor_has_the_same_name_as_in_torch() -> None:
    theirs = torch.cpu.get_capabilities().get("cpu_name")
    if not theirs:
        pytest.skip("torch does not know this processor")
    assert cpu_name() == theirs


def test_threads_are_as_many_as_torch_would_use() -> None:
    code = (
        "from worker.engine.devices import cpu_threads as n; a = n(); import torch; print(a - n())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


@pytest.mark.parametrize("name", ["cuda:99", "nonsense", "meta:nonsense"])
def test_a_missing_device_is_an_error_of_one_line(name: str) -> None:
    with pytest.raises(ModelUnavailable, match=name) as raised:
        choose_device(name)
    assert "\n" not in raised.value.detail


def test_auto_precision_follows_the_processor() -> None:
    features = torch.cpu.get_capabilities()
    fast = features.get("avx512_bf16") or features.get("amx_bf16")
    assert choose_precision("auto", CPU) == ("bf16" if fast else "fp32")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_requested_precision_is_used(precision: str) -> None:
    assert choose_precision(precision, CPU) == precision
    with autocast(precision, CPU):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    names = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
    assert names[product.dtype] == precision


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_out_of_memory_is_distinguished_from_other_errors(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_an_error_of_the_cpu_allocator_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)
