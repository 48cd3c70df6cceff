"""Pins base images by digest: ``deploy/docker/pin-images``.

A tag can move to another image. A digest is the hash of the image, so every build uses the
same one. It is the digest of the index of all platforms, so pinned files work on x86-64 and
ARM64. Source: the OCI Distribution Specification 1.1, and the token protocol of Docker registries
(https://distribution.github.io/distribution/spec/auth/token/).
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import httpx

from shared.atomic_file import replaced_atomically

_ROOT = Path(__file__).resolve().parents[2]
_FROM = re.compile(r"(?m)^(FROM\s+(?:--platform=\S+\s+)?)(\S+)")
_STAGE = re.compile(r"(?m)^FROM\s.*\sAS\s+(\S+)")
_COMPOSE_IMAGE = re.compile(r"(?m)^(\s+image:\s+)(\S+)")
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_ACCEPT = ", ".join(_MANIFESTS)
_DOCKER_HUB = "https://registry-1.docker.io"
_TIMEOUT_S = 30.0


class RegistryError(click.ClickException):
    """The registry does not respond, or responds with something wrong."""

    exit_code = 4


@dataclass(frozen=True, slots=True)
class Image:
    """``written`` is name and tag as in the file; ``name`` is that at the registry ``url``."""

    written: str
    url: str
    name: str
    tag: str

    @classmethod
    def parse(cls, reference: str, *, docker_hub: str = _DOCKER_HUB) -> Image | None:
        """Return the image of a reference; None if it has no tag, and so is built here."""
        written = reference.partition("@")[0]
        path, colon, tag = written.rpartition(":")
        if not colon or "/" in tag or "$" in written:
            return None
        host, slash, rest = path.partition("/")
        if slash and ("." in host or ":" in host or host == "localhost"):
            scheme = "http" if host.partition(":")[0] in {"localhost", "127.0.0.1"} else "https"
            return cls(written, f"{scheme}://{host}", rest, tag)
        return cls(written, docker_hub, path if slash else f"library/{path}", tag)


class Registries:
    """Asks registries for digests."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def digest(self, image: Image) -> str:
        """Return the digest of the image's tag, computed from its manifest.

        Raises RegistryError.
        """
        url = f"{image.url}/v2/{image.name}/manifests/{image.tag}"
        try:
            response = self._client.get(url, headers={"Accept": _ACCEPT})
            if response.status_code == httpx.codes.UNAUTHORIZED:
                token = self._token(response.headers.get("WWW-Authenticate", ""))
                headers = {"Accept": _ACCEPT, "Authorization": f"Bearer {token}"}
                response = self._client.get(url, headers=headers)
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise RegistryError(f"{image.written}: {error}") from None
        digest = f"sha256:{hashlib.sha256(response.content).hexdigest()}"
        told = response.headers.get("Docker-Content-Digest", digest)
        if told != digest:
            raise RegistryError(f"{image.written}: the manifest is {digest}, not {told}")
        return digest

    def _token(self, challenge: str) -> str:
        """Return an anonymous token for what the registry asks. Raises httpx.HTTPError."""
        fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = fields.pop("realm", "")
        if not challenge.lower().startswith("bearer ") or not realm:
            raise RegistryError(f"the registry asks for credentials: {challenge or 'nothing said'}")
        response = self._client.get(realm, params=fields)
        response.raise_for_status()
        content = response.json()
        return str(content.get("token") or content.get("access_token"))


def files_with_images(root: Path) -> list[Path]:
    """Return the files of the source tree that name base images."""
    return [*sorted((root / "deploy" / "docker").glob("Dockerfile.*")), root / "docker-compose.yml"]


def rewrite(text: str, reference: Callable[[str], str]) -> str:
    """Replace each image by ``reference(image)``, except the stages of a Dockerfile."""
    stages = {"scratch", *_STAGE.findall(text)}

    def replace(match: re.Match[str]) -> str:
        start, image = match.groups()
        return start + (image if image in stages else reference(image))

    return _COMPOSE_IMAGE.sub(replace, _FROM.sub(replace, text))


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 if a digest is old.")
@click.option("--unpin", is_flag=True, help="Remove the digests. Asks no registry.")
@click.option("--mirror", metavar="URL", default=_DOCKER_HUB, help="Ask this mirror of Docker Hub.")
@click.option("--root", type=click.Path(path_type=Path), default=_ROOT, hidden=True)
def main(*, check: bool, unpin: bool, mirror: str, root: Path) -> None:
    """Write the current digest of each base image to the Dockerfiles and docker-compose.yml.

    python:3.11-slim becomes python:3.11-slim@sha256:…; an older digest is replaced. The tag stays
    for people: Docker uses the digest. The files build without digests too. Nothing is written
    unless every registry responds.

    Exit codes: 0 done, 1 a digest is not current (--check), 2 wrong usage, 4 a registry does not
    respond.
    """
    digests: dict[str, str] = {}

    def reference(image_reference: str) -> str:
        image = Image.parse(image_reference, docker_hub=mirror.rstrip("/"))
        if image is None:
            return image_reference
        if unpin:
            return image.written
        if image.written not in digests:
            digests[image.written] = registries.digest(image)
        return f"{image.written}@{digests[image.written]}"

    with httpx.Client(timeout=_TIMEOUT_S, follow_redirects=True) as client:
        registries = Registries(client)
        before = {path: path.read_text() for path in files_with_images(root)}
        after = {path: rewrite(text, reference) for path, text in before.items()}
    changed = [path for path, text in after.items() if text != before[path]]
    for path in changed:
        click.echo(f"{'not current' if check else 'renewed'}: {path.relative_to(root)}")
        if not check:
            with replaced_atomically(path) as unfinished:
                unfinished.write_text(after[path])
    for name, digest in digests.items():
        click.echo(f"{name} {digest}")
    sys.exit(1 if check and changed else 0)


if __name__ == "__main__":
    main()
