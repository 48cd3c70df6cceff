"""Runs an RRDBNet on its device: enlarges an image of any size, tile by tile."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from shared.errors import ModelUnavailable, OutOfMemory
from worker.engine.background.rrdbnet import TAIL_REACH_PX, OnBlock, RRDBNet
from worker.engine.background.tiles import Axis, Span, Tile, tiles
from worker.engine.devices import Device, is_out_of_memory, torch_device

#: Receives the pixels of the photo so far and in total; may raise to stop.
OnPixels = Callable[[int, int], None]
#: What a tile looks at around itself, in pixels of the body. The network could look 349 px far; on
#: photographs and on noise, what lies beyond this distance changes no answer by more than 1/255
#: (measured: docs/models.md).
MARGIN_PX = 80
#: Side of a tile without its margins, in pixels of the body. With them it is 1024; what that
#: takes of memory is in docs/models.md.
TILE_PX = 864
#: Tiles are halved down to this side if memory runs out.
MIN_TILE_PX = 32
#: The output is made in pieces of this side (in pixels of the body): it is 16 times as large.
_PIECE_PX = 128
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Upscaler:
    """An RRDBNet on a device. It is thread-safe: calls take turns, tile by tile."""

    def __init__(
        self,
        network: RRDBNet,
        device: Device,
        precision: str,
        *,
        tile_px: int = TILE_PX,
        margin_px: int = MARGIN_PX,
    ) -> None:
        config = network.config
        self._network = network.eval().requires_grad_(False).to_precision(_DTYPES[precision])
        for _, conv in self._network.to(torch_device(device)).convolutions():
            conv.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub
        self._device, self._precision = torch_device(device), precision
        self._fold, self.scale = config.fold, config.scale
        self._blocks = config.blocks
        self._tile_px = tile_px * config.fold
        self._margin_px = min(margin_px, config.reach_px) * config.fold
        self._turn = threading.Lock()

    def upscale(
        self,
        image: NDArray[Any],
        *,
        average: int = 1,
        on_pixels: OnPixels = lambda _done, _total: None,
    ) -> NDArray[Any]:
        """Return ``image``, (H, W, 3) of unsigned integers, ``scale / average`` times as large.

        Squares of ``average`` x ``average`` pixels of the network's output become one pixel. Raises
        OutOfMemory if even the smallest tile does not fit, and what ``on_pixels`` raises.
        """
        height, width = image.shape[:2]
        padded = _pad(image, self._fold)
        scale = self.scale // average
        shape = (padded.shape[0] * scale, padded.shape[1] * scale, 3)
        answer = _blank(shape, image.dtype)
        pending = deque(
            tiles(*padded.shape[:2], side=self._tile_px, margin=self._margin_px, grid=self._fold)
        )
        meter = _Meter(on_pixels, sum(tile.pixels for tile in pending))
        while pending:
            tile = pending.popleft()
            part = self._try(padded, tile, average, partial(meter.part, tile, self._blocks))
            if part is None:
                pending = deque(q for each in (tile, *pending) for q in self._quarters(each))
                continue
            answer[tile.rows.place(scale), tile.columns.place(scale)] = part
            meter.whole(tile)
        return answer[: height * scale, : width * scale]

    def _quarters(self, tile: Tile) -> list[Tile]:
        if tile.side_px <= MIN_TILE_PX * self._fold:
            raise OutOfMemory(
                f"even a tile of {tile.side_px} px does not fit while the background is enlarged"
            )
        return tile.quarters()

    def _try(
        self, image: NDArray[Any], tile: Tile, average: int, on_block: OnBlock
    ) -> NDArray[Any] | None:
        """Return the tile's part of the output; None if memory ran out."""
        try:
            with self._turn, torch.inference_mode():
                return self._run(image, tile, average, on_block)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                return None
            raise

    def _run(
        self, image: NDArray[Any], tile: Tile, average: int, on_block: OnBlock
    ) -> NDArray[Any]:
        highest = float(np.iinfo(image.dtype).max)
        seen = image[tile.rows.seen, tile.columns.seen].astype(np.float32)
        x = torch.from_numpy(seen).to(self._device).permute(2, 0, 1)[None] / highest
        features = self._network.analyse(x, on_block)
        rows, columns = (
            Span(Axis(length, TAIL_REACH_PX), kept.start // self._fold, kept.stop // self._fold)
            for length, kept in zip(
                features.shape[2:], (tile.rows.kept(), tile.columns.kept()), strict=True
            )
        )
        return np.concatenate(
            [
                np.concatenate(
                    [self._piece(features, r, c, average, highest) for c in _pieces(columns)], 1
                )
                for r in _pieces(rows)
            ]
        ).astype(image.dtype)

    def _piece(
        self, features: Tensor, rows: Span, columns: Span, average: int, highest: float
    ) -> NDArray[np.float32]:
        """Return a part of the output, (H, W, 3) of whole numbers."""
        y = self._network.enlarge(features[:, :, rows.seen, columns.seen])
        y = y[:, :, rows.kept(4), columns.kept(4)]
        if not bool(y.isfinite().all()):
            raise ModelUnavailable(
                f"the network that enlarges the background answered with no numbers in "
                f"{self._precision}; set FACEMEND_PRECISION=fp32"
            )
        if average > 1:
            y = functional.avg_pool2d(y, average)
        y = (y.clamp(0, 1) * highest).round()[0].permute(1, 2, 0)
        return np.asarray(y.cpu().numpy(), np.float32)


class _Meter:
    """Reports the progress; it never decreases, even if a tile starts again."""

    def __init__(self, on_pixels: OnPixels, total: int) -> None:
        self._on_pixels, self._total = on_pixels, total
        self._done = self._told = 0

    def part(self, tile: Tile, blocks: int, blocks_done: int) -> None:
        self._tell(self._done + tile.pixels * blocks_done // (blocks + 1))

    def whole(self, tile: Tile) -> None:
        self._done += tile.pixels
        self._tell(self._done)

    def _tell(self, pixels: int) -> None:
        self._told = max(self._told, pixels)
        self._on_pixels(self._told, self._total)


def _pieces(span: Span) -> list[Span]:
    return span.parts(-(-(span.stop - span.start) // _PIECE_PX))


def _pad(image: NDArray[Any], grid: int) -> NDArray[Any]:
    """Mirrored to the right and below, up to a multiple of ``grid``."""
    down, right = -image.shape[0] % grid, -image.shape[1] % grid
    if not down and not right:
        return image
    return np.pad(image, ((0, down), (0, right), (0, 0)), "symmetric")


def _blank(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    try:
        return np.empty(shape, dtype)
    except MemoryError:
        raise OutOfMemory(
            f"there is no memory for a picture of {shape[1]} x {shape[0]} px"
        ) from None
