"""The peer has to compute the same network, or the comparison is worth nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.golden import CONFIGS, golden_error, golden_images, golden_state
from benchmarks.peer import Peer
from worker.engine.gpen.config import GpenConfig
from worker.engine.gpen.networks import load_generator

GOLDEN = Path(__file__).parents[1] / "data" / "gpen" / "golden.npz"


def test_the_peer_gives_the_published_networks_output() -> None:
    """At 256 px; the benchmark itself shows the error at 512 px too."""
    peer = Peer(golden_state(CONFIGS[256]))
    assert golden_error(peer(torch.from_numpy(golden_images(256))), 256) < 1e-5


def test_the_peer_makes_weights_for_each_face_of_a_batch() -> None:
    state = golden_state(GpenConfig(32, 32, 2, 0.125))
    noise = np.random.default_rng(7).standard_normal((2, 3, 32, 32))
    images = torch.from_numpy(np.clip(noise, -1, 1).astype(np.float32))
    with np.load(GOLDEN) as vectors:
        expected = torch.from_numpy(vectors["tiny-32"])
    found = Peer(state)(images)
    assert float((found - expected).norm() / expected.norm()) < 1e-5
    with torch.inference_mode():
        ours = load_generator(state)(images)
    torch.testing.assert_close(found, ours, atol=1e-4, rtol=1e-4)
