"""``facemend verify``: checks that a result is the one that a signed manifest describes."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import click

from shared.errors import ManifestInvalid, SettingsInvalid
from shared.provenance.signing_keys import PublicKeys
from shared.provenance.statement import read_manifest
from shared.settings import load_settings
from worker.commands.exit_codes import EXIT_PHOTO_FAILED, errors_as_exit_codes, exit_codes_help
from worker.commands.provenance.keys import known_keys

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_EPILOG = exit_codes_help(
    ok="the manifest is signed by a known key, and describes these files",
    failed="it is not; the message says why",
)


@click.command(epilog=_EPILOG)
@click.argument("result", type=_FILE)
@click.argument("manifest", type=_FILE)
@click.option(
    "--keys",
    "keys_file",
    type=_FILE,
    help="Public keys as JSON, saved from /.well-known/facemend-keys.json of the service.  "
    "[default: the keys of the settings, or of the facemend up on this machine]",
)
@click.option("--input", "photo", type=_FILE, help="Also check that this photo was restored.")
@click.option("--json", "as_json", is_flag=True, help="Print the statement of the manifest.")
def verify(
    *, result: Path, manifest: Path, keys_file: Path | None, photo: Path | None, as_json: bool
) -> None:
    """Check RESULT, a picture, against its MANIFEST. Nothing is sent or fetched."""
    with errors_as_exit_codes():
        keys = known_keys(load_settings()) if keys_file is None else _read_keys(keys_file)
        if not len(keys):
            raise SettingsInvalid("no key is known: give --keys FILE")
    try:
        statement = read_manifest(manifest.read_bytes(), keys)
        _require_hash(result, statement["output"]["sha256"], "the result of the manifest")
        if photo is not None:
            _require_hash(photo, statement["input"]["sha256"], "the photo that was restored")
    except ManifestInvalid as error:
        click.echo(f"not verified: {error.detail}", err=True)
        sys.exit(EXIT_PHOTO_FAILED)
    click.echo(json.dumps(statement, indent=2) if as_json else _in_words(result, statement))


def _read_keys(path: Path) -> PublicKeys:
    try:
        return PublicKeys.from_jwks(json.loads(path.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise SettingsInvalid(f"{path} holds no keys: {error}") from None


def _require_hash(path: Path, sha256: str, what: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise ManifestInvalid(f"{path} is not {what}, or was changed since")


def _in_words(result: Path, statement: dict[str, Any]) -> str:
    faces = statement["faces"]
    done = sum(face["status"] == "restored" for face in faces)
    model = statement["model"]
    runs_on = f"{model['backend']} {model['precision']}"
    source = statement["digital_source_type"]
    lines = [
        f"verified: {result}",
        f"made       {statement['finished_at']} by Facemend {statement['program']['version']}",
        f"model      {model['name']} ({model['sha256'][:12]}…, {runs_on})",
        f"faces      {done} of {len(faces)} restored",
        f"photo      SHA-256 {statement['input']['sha256']}",
        f"generated  {'in part (' + source.rpartition('/')[2] + ')' if source else 'nothing'}",
    ]
    return "\n".join(lines)
