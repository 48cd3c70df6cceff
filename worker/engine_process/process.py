"""One life of the engine child, seen from the worker: started, spoken to, dead and buried."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from shared.errors import EngineCrashed, ModelUnavailable
from shared.settings import Settings
from shared.telemetry import ENGINE_DEATHS
from worker.decoder.result_file import memory_file
from worker.engine_process import protocol as wire
from worker.engine_process.crash_report import Hand, in_words, suspects
from worker.engine_process.request import Order
from worker.engine_process.result import Finished
from worker.engine_process.spawn import spawn, without_secrets

_log = logging.getLogger(__name__)
_LOOK_S = 0.25
_LINGER_S = 2.0  # how long a job that is stopped may take to hear of it
_DEATH_S = 5.0  # how long the kernel may take to clear a dead process away
_LAST_WORDS_BYTES = 8_000
OnProgress = Callable[[str, int, int | None], None]


class NotBegun(Exception):
    """The child was gone before it had the job."""


class EngineChild:
    """Started from a thread that stays: the child dies with the thread that made it.

    A new child gets its code ready and waits: models are loaded when it is told to ``begin``.
    """

    def __init__(self, settings: Settings, load_restorers: str) -> None:
        self._stall_s = settings.stall_s
        self._control, theirs = wire.pair()
        self._last_words = memory_file("last-words")
        self._lock = threading.Lock()
        self._gone = threading.Event()
        self._buried = threading.Event()
        self._dismissed = False
        self._killed_for = ""
        self._stalled_s: float | None = None
        self._signs_of_life = 0
        self._hands: list[Hand] = []
        self._suspects: tuple[str, ...] = ()
        with theirs:
            self._process = spawn(theirs.fileno(), self._last_words)
        self._tell({"settings": without_secrets(settings), "load_restorers": load_restorers})

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def hands(self) -> Sequence[Hand]:
        """What is in its hands now; of a dead child, at its death."""
        return tuple(self._hands)

    @property
    def suspects(self) -> Sequence[str]:
        """Of a child that is buried: the jobs that may be why."""
        return self._suspects

    # --- for the thread that keeps it -------------------------------------------------------

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def begin(self) -> None:
        """Have the models loaded."""
        self._tell({"begin": True})

    def loaded(self, timeout_s: float) -> list[dict[str, Any]]:
        """Wait until the child can work: its models. Raises what it says; ModelUnavailable."""
        give_up_s = time.monotonic() + timeout_s
        message: dict[str, Any] | None = {}
        while message is not None and not message.keys() & {"models", "refused"}:
            self._control.settimeout(max(0.001, give_up_s - time.monotonic()))
            try:
                message, _ = wire.receive(self._control)  # or a batch of the warm-up
            except TimeoutError:
                self.kill(f"not ready after {timeout_s:g} s")
        self._control.settimeout(None)
        if message is None:
            raise ModelUnavailable(f"the engine process died at its start: {self.bury()}")
        if "refused" in message:
            self.bury()
            raise wire.heard(message["refused"])
        models: list[dict[str, Any]] = message["models"]
        return models

    def listen(self, on_batch: Callable[[str, Sequence[float]], None]) -> None:
        """Hear of batches until the child dies."""
        while True:
            message, _ = wire.receive(self._control)
            if message is None:
                return
            self._signs_of_life += 1
            on_batch(message["model"], message["waits_s"])

    def bury(self) -> str:
        """Wait for the end of a child that is dead or dying; how it died, in words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_DEATH_S)
        self.kill("did not end")
        self._process.wait()
        with self._lock:
            self._gone.set()
            self._control.close()
        stack = os.pread(self._last_words, _LAST_WORDS_BYTES, 0).decode(errors="replace")
        os.close(self._last_words)
        death = self._killed_for or in_words(self._process.returncode)
        self._suspects = suspects(self._hands, stack, self._stalled_s)
        self._buried.set()
        if not self._dismissed:
            ENGINE_DEATHS.labels(death).inc()
        _log.log(
            logging.INFO if self._dismissed else logging.ERROR,
            "the engine process %d ended: %s",
            self.pid,
            death,
            extra={"jobs": [hand.job_id for hand in self._hands], "suspects": self._suspects}
            | ({"stack": stack} if stack else {}),
        )
        return death

    def dismiss(self, *, at_once: bool = False) -> None:
        """Let the child go: it hears the end of the stream, unless it is busy with itself."""
        self._dismissed = True
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        if at_once:
            self.kill("not needed any more")

    def kill(self, why: str) -> None:
        """SIGKILL, unless it is dead already."""
        if self.alive:
            self._killed_for = self._killed_for or why
            self._process.kill()

    def _tell(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # dead already: ``loaded`` will say how
            wire.send(self._control, message)

    # --- for the threads of jobs ------------------------------------------------------------

    def work(
        self,
        order: Order,
        photo: int,
        on_progress: OnProgress,
        check: Callable[[], None],
        *,
        marked: bool,
    ) -> Finished:
        """Have one photo (the memory file of a ``Decoded``) restored; ``marked``: of a suspect.

        Raises NotBegun, EngineCrashed, what the engine raises, and what ``on_progress`` and
        ``check`` raise: then the child is told to stop.
        """
        ours, theirs = wire.pair()
        with ours:
            with theirs:
                hand = self._begin(Hand(order.job_id, marked), order, theirs, photo)
            ours.settimeout(_LOOK_S)
            try:
                finished = self._follow(ours, hand, on_progress, check)
            except EngineCrashed:
                raise  # and the job stays in its hands
            except BaseException:
                self._stop(ours)
                self._hands.remove(hand)
                raise
            self._hands.remove(hand)
            return finished

    def may_be_guilty(self, job_id: str, check: Callable[[], None]) -> bool:
        """Whether a job of its last ones may have been the cause of its death."""
        while not self._buried.wait(_LOOK_S):
            check()
        return job_id in self._suspects

    def _begin(self, hand: Hand, order: Order, answers: socket.socket, photo: int) -> Hand:
        with self._lock:
            if self._gone.is_set():
                raise NotBegun
            try:
                wire.send(self._control, asdict(order), [answers.fileno(), photo])
            except OSError as error:
                raise NotBegun from error
            self._hands.append(hand)
            return hand

    def _follow(
        self, ours: socket.socket, hand: Hand, on_progress: OnProgress, check: Callable[[], None]
    ) -> Finished:
        signs = self._signs_of_life
        while True:
            try:
                message, files = wire.receive(ours)
            except TimeoutError:
                check()
                # Counted in looks, not by the clock: while all of us were frozen, nobody stalled.
                hand.silent_s = hand.silent_s + _LOOK_S if signs == self._signs_of_life else 0.0
                signs = self._signs_of_life
                if hand.silent_s > self._stall_s:
                    self._stalled_s = self._stall_s
                    self.kill(f"no progress for {self._stall_s:g} s")
                continue
            hand.silent_s = 0.0
            if message is None:
                raise EngineCrashed(child=self)
            if "finished" in message:
                return Finished(files[0])
            self._take(message, hand, on_progress)

    def _take(self, message: dict[str, Any], hand: Hand, on_progress: OnProgress) -> None:
        if "error" in message:
            raise wire.heard(message["error"])
        if "thread" in message:
            hand.thread = message["thread"]
            return
        stage, done, total = message["progress"]
        self._signs_of_life += stage == "enlarging"  # the device works, if for another job
        on_progress(stage, done, total)

    def _stop(self, ours: socket.socket) -> None:
        """Tell the child that nobody waits for this job any more; it stops at its next step."""
        with contextlib.suppress(OSError):
            ours.shutdown(socket.SHUT_WR)
        give_up_s = time.monotonic() + _LINGER_S
        message: dict[str, Any] | None = {}
        with contextlib.suppress(TimeoutError):
            while message is not None and time.monotonic() < give_up_s:
                message, files = wire.receive(ours)
                wire.close(files)
