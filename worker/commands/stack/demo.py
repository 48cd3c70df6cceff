"""``facemend demo``: one photo through the whole service, as a customer would send it."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import httpx
from PIL import Image
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from deploy.embedded.stack import Stack
from deploy.embedded.webhook_receiver import Received, WebhookReceiver
from shared.errors import FacemendError
from worker.commands.exit_codes import (
    EXIT_INTERRUPTED,
    EXIT_PHOTO_FAILED,
    EXIT_UNAVAILABLE,
    exit_code_of,
    exit_codes_help,
)
from worker.commands.stack.demo_pictures import free_photo, side_by_side, spoil
from worker.commands.stack.up import interrupted_by_signals
from worker.engine.stage_timer import StageTimer

_JOB_S, _WEBHOOK_S, _POLL_S = 300.0, 60.0, 0.1


class DemoFailed(Exception):
    """Something is not as it should be; the message is for the person at the terminal."""


_EPILOG = exit_codes_help(
    EXIT_UNAVAILABLE,
    EXIT_INTERRUPTED,
    ok="the photo was restored and its webhook was right",
    failed="something is not as it should be; the message says what",
)


@click.command(epilog=_EPILOG)
@click.option(
    "--out",
    default="demo",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for before.png, after.png and comparison.png.",
)
@click.option("--setup-s", type=float, hidden=True, help="What making the environment took.")
def demo(out: Path, setup_s: float | None) -> None:
    """Send one spoiled photo through the whole service and show what comes back.

    Starts the stack in a folder of its own, sends the photo over HTTP, follows the job, waits for
    the signed webhook and verifies it, downloads the result, and stops everything.
    """
    timer = StageTimer()
    if setup_s is not None:
        timer.add_ms({"environment": 1000 * setup_s})
    folder = Path(tempfile.mkdtemp(prefix="facemend-demo-"))
    stack = Stack(folder, say=_say)
    try:
        with interrupted_by_signals():
            click.echo("Starting the stack")
            with timer.stage("start of the stack"):
                stack.start()
            try:
                _play(stack, out, timer)
            finally:
                click.echo("Stopping the stack")
                with timer.stage("stop of the stack"):
                    stack.stop()
    except (DemoFailed, FacemendError, httpx.HTTPError) as error:
        click.echo(f"demo failed: {error}\nlogs: {folder}", err=True)
        sys.exit(_exit_code(error))
    except KeyboardInterrupt:
        click.echo("demo interrupted", err=True)
        shutil.rmtree(folder, ignore_errors=True)
        sys.exit(EXIT_INTERRUPTED)
    shutil.rmtree(folder)
    _print_table(timer.timings_ms())
    click.echo(f"\nLook at {out / 'comparison.png'} (and before.png, after.png beside it).")


def _exit_code(error: Exception) -> int:
    if isinstance(error, httpx.TransportError):
        return EXIT_UNAVAILABLE
    return exit_code_of(error) if isinstance(error, FacemendError) else EXIT_PHOTO_FAILED


def _play(stack: Stack, out: Path, timer: StageTimer) -> None:
    out.mkdir(parents=True, exist_ok=True)
    original = free_photo()
    before = spoil(original)
    before.save(out / "before.png")
    with (
        WebhookReceiver(ports=range(8000, 9000)) as receiver,  # allowed for webhooks
        httpx.Client(
            base_url=stack.url,
            headers={"Authorization": f"Bearer {stack.api_key}"},
            timeout=60,
            trust_env=False,  # everything is on loopback: no proxy
        ) as client,
    ):
        job = _submit(client, out / "before.png", receiver.url)
        job = _follow(client, job, stack.check)
        timer.add_ms({f"  {stage}": ms for stage, ms in job["timings_ms"].items()})
        received = _await_webhook(receiver, stack.webhook_secret, job)
        delay_s = max(0.0, received.at - _unix(job["finished_at"]))
        timer.add_ms({"webhook, after the job's end": 1000 * delay_s})
        after = _download(job["result"], out / "after.png")
    panels = {"before": before, "after": after, "never spoiled": original}
    box = max((face["box"] for face in job["result"]["faces"]), key=_area)
    side_by_side(panels, box).save(out / "comparison.png")


def _submit(client: httpx.Client, photo: Path, webhook_url: str) -> dict[str, Any]:
    click.echo("Sending the photo")
    request = {"output": {"format": "png"}, "webhook": {"url": webhook_url}}
    answer = client.post(
        "/v1/restorations",
        files={
            "image": (photo.name, photo.read_bytes(), "image/png"),
            "request": (None, json.dumps(request), "application/json"),
        },
    )
    return _json(answer, 202)


def _follow(client: httpx.Client, job: dict[str, Any], check: Callable[[], None]) -> dict[str, Any]:
    """Ask until the job ends, saying each step once. Raises DemoFailed unless it succeeded.

    ``check`` raises StackFailed when there is nobody to do the job.
    """
    shown = ""
    deadline = time.monotonic() + _JOB_S
    while job["status"] in {"queued", "running"}:
        if time.monotonic() > deadline:
            raise DemoFailed(f"the job is not done after {_JOB_S:.0f} s: {job['status']}")
        if (step := _step(job)) != shown:
            _say(shown := step)
        check()
        time.sleep(_POLL_S)
        job = _json(client.get(f"/v1/restorations/{job['id']}"), 200)
    if job["status"] != "succeeded":
        raise DemoFailed(f"the job {job['status']}: {(job['error'] or {}).get('detail')}")
    faces = job["result"]["faces"]
    restored = sum(face["status"] == "restored" for face in faces)
    _say(f"succeeded: {restored} of {len(faces)} face(s) restored")
    if not restored:
        raise DemoFailed("no face was restored")
    return job


def _step(job: dict[str, Any]) -> str:
    progress = job["progress"]
    if job["status"] == "queued" or progress is None:
        return str(job["status"])
    faces = ""
    if progress["faces_total"] is not None:
        faces = f", {progress['faces_done']} of {progress['faces_total']} face(s)"
    return f"{progress['percent']:3} %  {progress['stage']}{faces}"


def _await_webhook(receiver: WebhookReceiver, secret: str, job: dict[str, Any]) -> Received:
    """Wait for it, and trust nothing that the standard's own library does not."""
    received = receiver.wait(_WEBHOOK_S)
    if received is None:
        raise DemoFailed(f"no webhook came within {_WEBHOOK_S:.0f} s")
    try:
        Webhook(secret).verify(received.body, received.headers)
    except WebhookVerificationError as error:
        raise DemoFailed(f"the webhook's signature is wrong: {error}") from None
    event = json.loads(received.body)
    if (event["type"], event["data"]["id"]) != ("restoration.succeeded", job["id"]):
        raise DemoFailed(f"the webhook is about something else: {event['type']}")
    _say(f"webhook {received.headers['webhook-id']} received, signature verified")
    return received


def _download(result: dict[str, Any], path: Path) -> Image.Image:
    image = result["image"]
    # A presigned address carries its own right to the file: the API key has no business there.
    answer = httpx.get(image["url"], timeout=60, trust_env=False)
    answer.raise_for_status()
    if hashlib.sha256(answer.content).hexdigest() != image["sha256"]:
        raise DemoFailed("the result's bytes are not those that the job tells of")
    path.write_bytes(answer.content)
    _say(f"{path}: {image['width']} x {image['height']}, {len(answer.content):,} bytes")
    return Image.open(io.BytesIO(answer.content)).convert("RGB")


def _json(answer: httpx.Response, expected: int) -> dict[str, Any]:
    if answer.status_code != expected:
        raise DemoFailed(f"{answer.request.url} answers {answer.status_code}: {answer.text[:500]}")
    content: dict[str, Any] = answer.json()
    return content


def _area(box: list[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _unix(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp()


def _print_table(timings_ms: dict[str, int]) -> None:
    click.echo("\nHow long it took")
    for name, ms in timings_ms.items():
        click.echo(f"  {name:<32}{ms / 1000:8.2f} s")


def _say(line: str) -> None:
    click.echo(f"  {line}")
