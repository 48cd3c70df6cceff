"""Against a registry on loopback that speaks the OCI distribution API, with tokens."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner, Result

from deploy.docker.pin_images import Image, files_with_images, main, rewrite

ROOT = Path(__file__).resolve().parents[3]
INDEX = "application/vnd.oci.image.index.v1+json"


class Registry(ThreadingHTTPServer):
    """Serves the manifests in ``tags`` (``name:tag``) to clients with a token for that name."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.tags: dict[str, bytes] = {}
        self.wrong_digest = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/token":
            scope = parse_qs(parts.query)["scope"][0]
            self.reply(200, json.dumps({"token": f"for {scope}"}).encode())
            return
        found = re.fullmatch(r"/v2/(.+)/manifests/(.+)", parts.path)
        assert found
        scope = f"repository:{found[1]}:pull"
        manifest = self.server.tags.get(f"{found[1]}:{found[2]}")
        if self.headers["Authorization"] != f"Bearer for {scope}":
            realm = f'Bearer realm="{self.server.url}/token",service="tests",scope="{scope}"'
            self.reply(401, b"", ("WWW-Authenticate", realm))
        elif manifest is None or INDEX not in self.headers["Accept"]:
            self.reply(404, b"")
        else:
            told = digest(b"another" if self.server.wrong_digest else manifest)
            self.reply(200, manifest, ("Content-Type", INDEX), ("Docker-Content-Digest", told))

    def reply(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
        """Log nothing."""


def digest(manifest: bytes) -> str:
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        for name in (
            *("library/python:3.11-slim", "library/debian:bookworm-slim"),
            *("prom/prometheus:v3.0.1", "grafana/grafana:11.4.0"),
        ):
            server.tags[name] = f"index of {name}".encode()
        server.tags["library/redis:7-bookworm"] = b"index of redis"
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the files, without digests."""
    for path in files_with_images(ROOT):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    assert pin_images(tmp_path, "--unpin").exit_code == 0
    return tmp_path


def pin_images(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--root", str(root), *arguments])


def images(root: Path) -> set[str]:
    """Return the images in all files that have a tag."""
    text = "\n".join(path.read_text() for path in files_with_images(root))
    return set(re.findall(r"(?m)^(?:FROM|\s+image:) +(\S+:\S+)", text))


def test_each_base_image_gets_the_digest_of_its_tag(root: Path, registry: Registry) -> None:
    result = pin_images(root, "--mirror", registry.url)
    assert result.exit_code == 0, result.output
    assert images(root) == {
        f"{name.removeprefix('library/')}@{digest(manifest)}"
        for name, manifest in registry.tags.items()
    }


def test_a_digest_is_renewed_when_the_tag_moves(root: Path, registry: Registry) -> None:
    pin_images(root, "--mirror", registry.url)
    assert pin_images(root, "--mirror", registry.url, "--check").exit_code == 0
    registry.tags["library/redis:7-bookworm"] = b"a newer index"
    stale = pin_images(root, "--mirror", registry.url, "--check")
    assert (stale.exit_code, stale.output.splitlines()[0]) == (1, "not current: docker-compose.yml")
    assert pin_images(root, "--mirror", registry.url).exit_code == 0
    assert f"redis:7-bookworm@{digest(b'a newer index')}" in images(root)


def test_without_digests_the_files_are_as_before(root: Path, registry: Registry) -> None:
    before = {path: path.read_text() for path in files_with_images(root)}
    pin_images(root, "--mirror", registry.url)
    assert pin_images(root, "--unpin").exit_code == 0
    assert {path: path.read_text() for path in before} == before


def test_nothing_is_written_if_one_image_is_unknown(root: Path, registry: Registry) -> None:
    before = images(root)
    del registry.tags["library/redis:7-bookworm"]
    result = pin_images(root, "--mirror", registry.url)
    assert result.exit_code == 4
    assert "redis:7-bookworm" in result.output
    assert images(root) == before


def test_a_manifest_that_is_not_what_the_registry_says_is_refused(
    root: Path, registry: Registry
) -> None:
    registry.wrong_digest = True
    result = pin_images(root, "--mirror", registry.url)
    assert result.exit_code == 4
    assert "the manifest is sha256:" in result.output


def test_a_registry_that_does_not_respond_is_an_error_in_words(root: Path) -> None:
    result = pin_images(root, "--mirror", "http://127.0.0.1:9")
    assert result.exit_code == 4
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("reference", "url", "name", "tag"),
    [
        ("python:3.11", "https://registry-1.docker.io", "library/python", "3.11"),
        ("a/b:1@sha256:0", "https://registry-1.docker.io", "a/b", "1"),
        ("ghcr.io/a/b:1", "https://ghcr.io", "a/b", "1"),
        ("127.0.0.1:5000/b:1", "http://127.0.0.1:5000", "b", "1"),
    ],
)
def test_a_reference_names_registry_image_and_tag(
    reference: str, url: str, name: str, tag: str
) -> None:
    image = Image.parse(reference)
    assert image
    assert (image.url, image.name, image.tag) == (url, name, tag)


@pytest.mark.parametrize("reference", ["facemend-api", "127.0.0.1:5000/b", "python:$TAG"])
def test_an_image_without_a_fixed_tag_is_left_alone(reference: str) -> None:
    assert Image.parse(reference) is None


def test_stages_platforms_and_scratch_are_understood() -> None:
    text = "FROM --platform=linux/amd64 a:1 AS b\nFROM b\nFROM scratch\nFROM c:2 AS d\n"
    pinned = "FROM --platform=linux/amd64 A:1 AS b\nFROM b\nFROM scratch\nFROM C:2 AS d\n"
    assert rewrite(text, str.upper) == pinned
