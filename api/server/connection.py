"""One client's connection: read a request whole, have it answered, write the answer; again."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import h11

from api.auth import ADMITTED
from api.jobs.event_stream import EventStream
from api.jobs.long_poll import JobWait
from api.preflight import body_limit
from api.problems import MEDIA_TYPE
from api.server.body import MEMORY_BYTES, Body, Pace
from api.server.call import Answer, call
from api.server.head import (
    MAX_HEAD_BYTES,
    check_head,
    check_path,
    declared_bytes,
    environ_of,
    has_body,
)
from api.server.resources import Resources
from shared.errors import (
    FacemendError,
    HeadersTooLong,
    Internal,
    MalformedRequest,
    SlowRequest,
    TargetTooLong,
)
from shared.telemetry import REQUESTS

_log = logging.getLogger(__name__)

#: For a head to come in whole, and for a new connection to begin one. Each connection has a little
#: more or less, so that those that came together do not end together, which would take a while.
_HEAD_S, _HEAD_SPREAD = 10.0, (0.8, 1.2)
#: How long a connection may be idle between requests. With a valid key it may be a load balancer's,
#: which must never be cut off first; theirs are closed after 60 s.
_IDLE_S, _IDLE_WITH_KEY_S = 10.0, 75.0
#: A small body follows its head at once; a thread need not look at the head first.
_RIGHT_BEHIND_S = 0.05
#: For each part of an answer to be taken by the client.
_TAKE_S, _PART_BYTES = 10.0, 16_384
#: How long to read on after an answer that came before the end of the request (RFC 9112, 9.6).
_LINGER_S, _LINGER_BYTES = 2.0, 100_000_000
_HEARTBEAT_S = 15.0
_READ_BYTES = 65_536


class Connection:
    """h11 knows the protocol, asyncio the socket; this knows the limits."""

    def __init__(
        self,
        resources: Resources,
        headless: dict[Connection, None],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """``headless``: where this connection stands while no whole head has come in."""
        self._resources, self._headless = resources, headless
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._idle = True  # no byte of a request has come
        self._head_s = self._idle_s = _HEAD_S * random.uniform(*_HEAD_SPREAD)
        self._peer, self._address = _names(writer)
        writer.transport.set_write_buffer_limits(high=2 * _PART_BYTES, low=_PART_BYTES)

    async def run(self) -> None:
        """Serve requests until client or server ends the connection."""
        try:
            while await self._serve_one():
                self._http.start_next_cycle()
        except (OSError, TimeoutError, h11.LocalProtocolError) as error:
            _log.debug("a client is gone: %r", error)
            self.abort()
        finally:
            await self._close()

    def abort(self) -> None:
        """End it at once, whatever is under way."""
        self._writer.transport.abort()

    def end_if_idle(self) -> None:
        """End it unless a request has begun to come in."""
        if self._idle:
            self._writer.close()

    # --- one request --------------------------------------------------------------------------

    async def _serve_one(self) -> bool:
        """Whether the connection may be used again."""
        try:
            head = await self._read_head()
            if head is None:
                return False
            environ = environ_of(head, self._peer, self._address)
            self._resources.proxies.apply(environ)
            check_path(environ)
            with Body(self._resources) as body:
                await self._receive(head, environ, body)
                answer = await self._answer(environ)
                try:
                    await self._send(answer, head)
                finally:
                    if answer.open:
                        await self._resources.in_thread(environ, answer.close)
        except FacemendError as error:
            await self._refuse(error)
            return False
        self._idle_s = _IDLE_WITH_KEY_S if ADMITTED in environ else _IDLE_S
        if self._http.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            return True
        if self._http.their_state is h11.SEND_BODY:
            await self._linger()
        return False

    async def _read_head(self) -> h11.Request | None:
        """None: the client sent nothing, or said goodbye."""
        self._headless[self] = None
        self._idle = not self._http.trailing_data[0]
        try:
            if self._idle:
                async with asyncio.timeout(self._idle_s):
                    await self._read_first()
                self._idle = False
            limit_s = min(self._head_s, self._resources.settings.upload_timeout_s)
            event = await self._event_within(limit_s)
        except TimeoutError:
            return None
        finally:
            self._headless.pop(self, None)
        if not isinstance(event, h11.Request):
            return None
        check_head(event)
        return event

    async def _receive(self, head: h11.Request, environ: dict[str, Any], body: Body) -> None:
        """Read the body, if it is wanted, and make it the request's input."""
        if not has_body(head):
            await self._event()  # the end of the message
            return
        if not await self._read_early(head, body):
            limit = await self._resources.in_thread(
                environ, body_limit, self._resources.app, environ
            )
            if not limit:
                return  # refused, or answered without the body
            key, _ = environ[ADMITTED]
            body.admit(key.id, environ["REMOTE_ADDR"])
            await self._read_body(body, limit)
        body.file.seek(0)
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        environ["CONTENT_LENGTH"] = str(body.size)
        environ["wsgi.input"] = body.file
        environ["wsgi.input_terminated"] = True

    async def _read_early(self, head: h11.Request, body: Body) -> bool:
        """Read a small body that comes right behind its head; False: more of it is to come."""
        length = declared_bytes(head)
        if self._http.they_are_waiting_for_100_continue:
            return False
        if length is not None and length > MEMORY_BYTES:
            return False
        now = asyncio.get_running_loop().time
        until_s = now() + _RIGHT_BEHIND_S
        while body.size <= MEMORY_BYTES:
            try:
                # The limit is for reading only: a write that it cut off would lose its bytes.
                event = await self._event_within(until_s - now())
            except SlowRequest:
                return False
            if isinstance(event, h11.EndOfMessage):
                return True
            await body.write(bytes(_data(event)))
        return False

    async def _read_body(self, body: Body, limit: int) -> None:
        """Read to the end of the body, or to ``limit``, which the application refuses then."""
        if self._http.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
            await self._write(self._http.send(go_on) or b"")
        pace = Pace(self._resources.settings.upload_timeout_s)
        while body.size < limit:
            event = await self._event_within(pace.left_s())
            if isinstance(event, h11.EndOfMessage):
                return
            data = _data(event)
            await body.write(bytes(data))
            pace.note(len(data))

    async def _answer(self, environ: dict[str, Any]) -> Answer:
        """The application's answer; if it waits for a job, the one that it gives afterwards."""
        answer = await self._call(environ)
        while isinstance(wait := answer.body, JobWait):
            try:
                job = wait.job
                await self._resources.watch.ended(job.id, wait.wait_s, self._gone)
            finally:
                wait.close()
            wait.resume(environ)
            answer = await self._call(environ)
        return answer

    async def _call(self, environ: dict[str, Any]) -> Answer:
        try:
            return await self._resources.in_thread(environ, call, self._resources.app, environ)
        except Exception:  # noqa: BLE001 - the client gets an answer, the log the story
            _log.exception("the application failed")
            raise Internal from None

    # --- answers ------------------------------------------------------------------------------

    async def _send(self, answer: Answer, head: h11.Request) -> None:
        headers = [*answer.headers, (b"Date", _date(int(time.time())))]
        if self._http.their_state is not h11.DONE or self._resources.services.draining.is_set():
            headers.append((b"Connection", b"close"))
        reason = _reason(answer.status)
        begin = self._http.send(
            h11.Response(status_code=answer.status, headers=headers, reason=reason)
        )
        first = answer.first if head.method != b"HEAD" else b""
        if first:
            begin = (begin or b"") + (self._http.send(h11.Data(data=first)) or b"")
        if answer.ended or head.method == b"HEAD":
            begin = (begin or b"") + (self._http.send(h11.EndOfMessage()) or b"")
            await self._write(begin or b"")
            return
        await self._write(begin or b"")
        async for part in self._parts(answer):
            await self._write(self._http.send(h11.Data(data=part)) or b"")
        await self._write(self._http.send(h11.EndOfMessage()) or b"")

    async def _parts(self, answer: Answer) -> AsyncIterator[bytes]:
        """The rest of a body; of a stream, what is new whenever there is something."""
        stream = answer.body
        if not isinstance(stream, EventStream):
            while not answer.ended:
                yield await self._resources.in_background(answer.next_part)
            return
        while (
            piece := await self._resources.in_background(next, stream, None)
        ) and not self._gone():
            yield piece
            if not stream.ended:
                await self._resources.watch.changed(
                    stream.job.id, stream.version, _HEARTBEAT_S, self._gone
                )

    async def _refuse(self, error: FacemendError) -> None:
        """Answer a request that does not come to the application, and end the connection."""
        status, request_id = error.http_status, f"req_{uuid4().hex}"
        _log.info("refused: %s", error, extra={"request_id": request_id, "status": status})
        REQUESTS.labels("other", "unknown", str(status)).inc()
        if self._http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.abort()
            return
        body = json.dumps(error.problem() | {"request_id": request_id}).encode()
        retry_after_s = getattr(error, "retry_after_s", None)
        headers = [
            ("Content-Type", MEDIA_TYPE),
            ("Content-Length", str(len(body))),
            ("Date", formatdate(usegmt=True)),
            ("X-Request-Id", request_id),
            ("X-Content-Type-Options", "nosniff"),
            ("Cache-Control", "no-store"),
            ("Connection", "close"),
            *([] if retry_after_s is None else [("Retry-After", str(retry_after_s))]),
        ]
        # Not by h11: after an error of the client's it does not say that the client asked.
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers]
        await self._write("\r\n".join([*lines, "", ""]).encode() + body)
        await self._linger()

    # --- bytes --------------------------------------------------------------------------------

    async def _event(self) -> Any:
        """The next event of h11. Raises MalformedRequest, HeadersTooLong, TargetTooLong."""
        while (event := self._event_at_hand()) is h11.NEED_DATA:
            await self._read()
        return event

    async def _event_within(self, seconds: float) -> Any:
        """The next event. Raises SlowRequest, and what ``_event`` raises."""
        if (event := self._event_at_hand()) is not h11.NEED_DATA:
            return event  # without a timer, which would cost as much as the event
        try:
            async with asyncio.timeout(seconds):
                await self._read()
                return await self._event()
        except TimeoutError:
            raise SlowRequest from None

    def _event_at_hand(self) -> Any:
        """The next event in the bytes that have come, or ``h11.NEED_DATA``."""
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise self._malformed(error) from None

    async def _read(self) -> None:
        self._http.receive_data(await self._reader.read(_READ_BYTES))

    async def _read_first(self) -> None:
        """The first bytes of a request; empty lines before it are none (RFC 9112, 2.2)."""
        while data := await self._reader.read(_READ_BYTES):
            if begin := data.lstrip(b"\r\n"):
                self._http.receive_data(begin)
                return
        self._http.receive_data(b"")

    def _malformed(self, error: h11.RemoteProtocolError) -> MalformedRequest:
        if error.error_status_hint != 431:
            return MalformedRequest(f"This is no valid HTTP request: {error}.")
        pending, _ = self._http.trailing_data
        return HeadersTooLong() if b"\n" in pending else TargetTooLong()

    async def _write(self, data: bytes) -> None:
        """Raises TimeoutError when the client takes nothing."""
        for start in range(0, len(data), _PART_BYTES):
            self._writer.write(data[start : start + _PART_BYTES])
            transport = self._writer.transport
            if transport.get_write_buffer_size() or transport.is_closing():
                async with asyncio.timeout(_TAKE_S):
                    await self._writer.drain()

    def _gone(self) -> bool:
        """Whether the client has closed its side, or all of the connection."""
        return self._reader.at_eof() or self._writer.is_closing()

    async def _linger(self) -> None:
        """Read on for a while, so that a client that still sends gets to see the answer."""
        try:
            if self._writer.can_write_eof():
                self._writer.write_eof()
            left = _LINGER_BYTES
            async with asyncio.timeout(_LINGER_S):
                while left > 0 and (data := await self._reader.read(_READ_BYTES)):
                    left -= len(data)
        except (OSError, TimeoutError):
            pass

    async def _close(self) -> None:
        self._writer.close()
        try:
            async with asyncio.timeout(_TAKE_S):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self.abort()


def _data(event: Any) -> bytes | bytearray:
    if not isinstance(event, h11.Data):
        raise MalformedRequest("The body ends too early.")
    return event.data


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()


def _reason(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""


def _names(writer: asyncio.StreamWriter) -> tuple[str, tuple[str, int]]:
    """The client's address, and host and port of the server's side."""
    peer, own = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
    return str(peer[0]) if peer else "", (str(own[0]), int(own[1]))
