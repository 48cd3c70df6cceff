"""Which service a command is for: the one of the settings, or an embedded stack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from deploy.embedded.stack import Stack, default_folder, has_stack
from shared.settings import Settings, load_settings

#: Without one of these, the settings name no service.
_OF_A_SERVICE = frozenset({"redis_url", "redis_password", "s3_endpoint_url", "api_key_pepper"})

data_option: Callable[[Any], Any] = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Data folder of the facemend up to work on.  [default: the service of the settings "
    "FACEMEND_REDIS_URL …; without them, the stack in ~/.local/share/facemend]",
)


@contextmanager
def service_settings(data: Path | None, *, with_s3: bool = False) -> Iterator[Settings]:
    """Yield the settings of the service that a command is for, and say which stack it is.

    ``data``: the folder of an embedded stack; None: the settings decide. If that stack does not
    run, its Redis (and its S3) run during the block. Raises SettingsInvalid and StackFailed.
    """
    if data is None:
        settings = load_settings()
        if settings.model_fields_set & _OF_A_SERVICE or not has_stack(default_folder()):
            yield settings
            return
    with Stack(data or default_folder(), say=_say).servers(with_s3=with_s3) as settings:
        yield settings


def _say(line: str) -> None:
    click.echo(line, err=True)
