"""Enlarges an image of any size with a network, tile by tile."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from shared.errors import ModelUnavailable, OutOfMemory
from worker.engine.background.tiles import Span, Tile, tiles
from worker.engine.devices import Device, is_out_of_memory, torch_device

#: Receives the pixels of the photo so far and in total; may raise to stop.
OnPixels = Callable[[int, int], None]
#: Receives the number of steps of a network that are done; may raise to stop.
OnStep = Callable[[int], None]
#: Makes pixels, (H, W, 3) of whole numbers, of a part of the output, (1, 3, H, W).
Finish = Callable[[Tensor], NDArray[np.float32]]
#: Tiles are halved down to this side if memory runs out.
MIN_TILE_PX = 32


class Network(Protocol):
    """What the upscaler runs.

    It enlarges ``scale`` times. The sides of its input are multiples of ``fold``. Tiles begin at
    multiples of ``grid``, are at most about ``tile_px`` wide, and the network sees ``margin_px``
    around each; these three are in units of ``fold`` pixels. A tile takes ``steps`` + 1 steps.
    ``usual_precision`` is what ``auto`` means.
    """

    @property
    def scale(self) -> int: ...
    @property
    def fold(self) -> int: ...
    @property
    def grid(self) -> int: ...
    @property
    def tile_px(self) -> int: ...
    @property
    def margin_px(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def usual_precision(self) -> str: ...

    def place(self, device: torch.device, precision: str) -> None:
        """Move to the device. Raises ModelUnavailable if it cannot run in this precision."""

    def draw(
        self, x: Tensor, rows: Span, columns: Span, finish: Finish, on_step: OnStep
    ) -> NDArray[np.float32]:
        """Enlarge ``x``, (1, 3, H, W) in 0 to 1, and return the finished rows and columns."""


class Upscaler:
    """A network on a device. It is thread-safe: calls take turns, tile by tile."""

    def __init__(
        self,
        network: Network,
        device: Device,
        precision: str,
        *,
        tile_px: int | None = None,
        margin_px: int | None = None,
    ) -> None:
        self._device, self._precision = torch_device(device), precision
        network.place(self._device, precision)
        self._network, self.scale, self._fold = network, network.scale, network.fold
        self._grid = network.grid * self._fold
        self._tile_px = (tile_px or network.tile_px) * self._fold
        self._margin_px = (network.margin_px if margin_px is None else margin_px) * self._fold
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
            tiles(*padded.shape[:2], side=self._tile_px, margin=self._margin_px, grid=self._grid)
        )
        meter = _Meter(on_pixels, sum(tile.pixels for tile in pending))
        while pending:
            tile = pending.popleft()
            part = self._try(padded, tile, average, partial(meter.part, tile, self._network.steps))
            if part is None:
                pending = deque(q for each in (tile, *pending) for q in self._quarters(each))
                continue
            answer[tile.rows.place(scale), tile.columns.place(scale)] = part
            meter.whole(tile)
        return answer[: height * scale, : width * scale]

    def _quarters(self, tile: Tile) -> list[Tile]:
        quarters = tile.quarters()
        if tile.side_px <= MIN_TILE_PX * self._fold or len(quarters) == 1:
            raise OutOfMemory(
                f"even a tile of {tile.side_px} px does not fit while the background is enlarged"
            )
        return quarters

    def _try(
        self, image: NDArray[Any], tile: Tile, average: int, on_step: OnStep
    ) -> NDArray[Any] | None:
        """Return the tile's part of the output; None if memory ran out."""
        try:
            with self._turn, torch.inference_mode():
                return self._run(image, tile, average, on_step)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                return None
            raise

    def _run(self, image: NDArray[Any], tile: Tile, average: int, on_step: OnStep) -> NDArray[Any]:
        highest = float(np.iinfo(image.dtype).max)
        seen = image[tile.rows.seen, tile.columns.seen].astype(np.float32)
        x = torch.from_numpy(seen).to(self._device).permute(2, 0, 1)[None] / highest
        finish = partial(self._finish, average=average, highest=highest)
        return self._network.draw(x, tile.rows, tile.columns, finish, on_step).astype(image.dtype)

    def _finish(self, y: Tensor, *, average: int, highest: float) -> NDArray[np.float32]:
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

    def part(self, tile: Tile, steps: int, steps_done: int) -> None:
        self._tell(self._done + tile.pixels * steps_done // (steps + 1))

    def whole(self, tile: Tile) -> None:
        self._done += tile.pixels
        self._tell(self._done)

    def _tell(self, pixels: int) -> None:
        self._told = max(self._told, pixels)
        self._on_pixels(self._told, self._total)


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
