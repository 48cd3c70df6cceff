from __future__ import annotations

import random

from tests.soak.series import Series, table

_DIE = random.Random(1)


def series(values: list[float]) -> Series:
    made = Series("worker", "memory", "MiB", allowed=4, allowed_share=0.05)
    for at_s, value in enumerate(values):
        made.add(2.0 * at_s, value)
    return made


def test_noise_and_single_peaks_are_flat() -> None:
    values = [100 + _DIE.uniform(-3, 3) for _ in range(60)]
    values[30], values[59] = 400, 300
    assert series(values).is_flat


def test_a_slow_steady_leak_grows() -> None:
    leaking = series([100 + 0.15 * at + _DIE.uniform(-3, 3) for at in range(60)])
    assert not leaking.is_flat
    assert 6 < leaking.growth < 12
    assert "GROWS" in table([leaking])


def test_a_leak_in_steps_grows() -> None:
    assert not series([100.0 + 4 * (at // 15) for at in range(60)]).is_flat


def test_falling_is_flat() -> None:
    assert series([200.0 - at for at in range(60)]).is_flat


def test_a_process_that_ended_is_not_flat() -> None:
    ended = series([1.0] * 60)
    ended.ended = True
    assert not ended.is_flat
    assert "| ended |" in table([ended])
