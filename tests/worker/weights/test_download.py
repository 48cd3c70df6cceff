"""Downloads of weights: resumed, verified, and renamed only if they are correct."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import numpy as np
import pytest
from botocore.config import Config

from shared.errors import ModelUnavailable, WeightsInvalid, WeightsMissing
from tests.worker.engine.site import Site, serving
from worker.weights.catalogue import CATALOGUE, STARTER
from worker.weights.download import OnBytes
from worker.weights.download import pull as pull_patiently
from worker.weights.model_entry import ModelEntry
from worker.weights.sources import FileSource, HttpSource, S3Source, Source, choose_source

if TYPE_CHECKING:
    from shared.settings import Settings
    from shared.storage.bucket import ObjectStorage

DATA = np.random.default_rng(0).integers(0, 256, 3_000_000, dtype=np.uint8).tobytes()
SHA256 = hashlib.sha256(DATA).hexdigest()
ENTRY = ModelEntry("big", "big.pth", "MIT", url="https://example.org/big.pth", sha256=SHA256)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site(DATA)) as site:
        yield site


def quiet(_done: int, _total: int | None) -> None:
    pass


def pull(entry: ModelEntry, folder: Path, source: Source, on_bytes: OnBytes) -> Path:
    return pull_patiently(entry, folder, source, on_bytes, waits_s=(0.01, 0.01, 0.01))


def part_of(folder: Path) -> Path:
    return folder / "big.pth.part"


def test_a_download_gets_its_name_after_verification(site: Site, tmp_path: Path) -> None:
    reported: list[tuple[int, int | None]] = []
    path = pull(ENTRY, tmp_path / "new", HttpSource(site.url), lambda *n: reported.append(n))
    assert path.read_bytes() == DATA
    assert reported[0] == (0, len(DATA))
    assert reported[-1] == (len(DATA), len(DATA))
    assert [done for done, _ in reported] == sorted(done for done, _ in reported)
    names = {each.name for each in path.parent.iterdir()}
    assert names == {"big.pth", "big.pth.sha256"}


def test_a_broken_download_is_resumed(site: Site, tmp_path: Path) -> None:
    site.breaks_after = [1_000_000, 500_000]
    path = pull(ENTRY, tmp_path, HttpSource(site.url), quiet)
    assert path.read_bytes() == DATA
    assert site.asked == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_connection_that_keeps_breaking_keeps_the_received_part(
    site: Site, tmp_path: Path
) -> None:
    site.breaks_after = [1_000_000, *[0] * 20]
    with pytest.raises(WeightsMissing, match="1000000 bytes are kept"):
        pull(ENTRY, tmp_path, HttpSource(site.url), quiet)
    assert part_of(tmp_path).stat().st_size == 1_000_000
    site.breaks_after = []
    assert pull(ENTRY, tmp_path, HttpSource(site.url), quiet).read_bytes() == DATA
    assert site.asked[-1] == "bytes=1000000-"


def test_the_download_of_a_replaced_file_starts_again(site: Site, tmp_path: Path) -> None:
    part_of(tmp_path).write_bytes(b"x" * 1000)
    (tmp_path / "big.pth.part.etag").write_text('"older"')
    assert pull(ENTRY, tmp_path, HttpSource(site.url), quiet).read_bytes() == DATA
    assert site.asked == ["bytes=1000-"]


def test_without_ranges_the_download_starts_again(site: Site, tmp_path: Path) -> None:
    site.takes_ranges = False
    part_of(tmp_path).write_bytes(DATA[:1000])
    assert pull(ENTRY, tmp_path, HttpSource(site.url), quiet).read_bytes() == DATA


def test_a_complete_part_is_only_renamed(site: Site, tmp_path: Path) -> None:
    part_of(tmp_path).write_bytes(DATA)
    assert pull(ENTRY, tmp_path, HttpSource(site.url), quiet).read_bytes() == DATA
    assert len(site.asked) == 1


def test_a_part_longer_than_the_file_is_deleted(site: Site, tmp_path: Path) -> None:
    part_of(tmp_path).write_bytes(DATA + b"more")
    assert pull(ENTRY, tmp_path, HttpSource(site.url), quiet).read_bytes() == DATA
    assert len(site.asked) == 2


def test_a_wrong_hash_leaves_no_file(site: Site, tmp_path: Path) -> None:
    site.data = DATA[:-1] + bytes([DATA[-1] ^ 1])
    with pytest.raises(WeightsInvalid, match=SHA256):
        pull(ENTRY, tmp_path, HttpSource(site.url), quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_size_is_refused_before_the_download(site: Site, tmp_path: Path) -> None:
    with pytest.raises(WeightsInvalid, match="5 are expected"):
        pull(replace(ENTRY, bytes=5), tmp_path, HttpSource(site.url), quiet)
    assert not part_of(tmp_path).exists()


def test_without_a_published_hash_the_first_one_is_recorded(site: Site, tmp_path: Path) -> None:
    entry = replace(ENTRY, sha256=None)
    pull(entry, tmp_path, HttpSource(site.url), quiet)
    assert (tmp_path / "big.pth.sha256").read_text() == f"{SHA256}  big.pth\n"
    site.data = b"another file"
    with pytest.raises(WeightsInvalid, match=SHA256):
        pull(entry, tmp_path, HttpSource(site.url), quiet)
    assert (tmp_path / "big.pth").read_bytes() == DATA


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refused_request_is_not_repeated(site: Site, tmp_path: Path, status: int) -> None:
    site.statuses = [status]
    with pytest.raises(WeightsMissing, match=str(status)):
        pull(ENTRY, tmp_path, HttpSource(site.url), quiet)
    assert len(site.asked) == 1


def test_a_request_to_a_failing_server_is_repeated(site: Site, tmp_path: Path) -> None:
    site.statuses = [503, 429]
    assert pull(ENTRY, tmp_path, HttpSource(site.url), quiet).read_bytes() == DATA


def test_a_refused_connection_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="Run the same command again"):
        pull(ENTRY, tmp_path, HttpSource("http://127.0.0.1:9/big.pth"), quiet)


def test_an_invalid_address_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="not an address"):
        pull(ENTRY, tmp_path, HttpSource("http://127.0.0.1/\x01"), quiet)


def test_a_folder_is_a_mirror(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "big.pth").write_bytes(DATA)
    part_of(tmp_path).write_bytes(DATA[:5])
    source = choose_source(ENTRY, str(tmp_path / "mirror"), no_s3)
    assert pull(ENTRY, tmp_path, source, quiet).read_bytes() == DATA


def test_a_folder_without_the_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="cannot be read"):
        pull(ENTRY, tmp_path, FileSource(tmp_path / "nothing"), quiet)


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "big.pth").write_bytes(DATA)
    with pytest.raises(ModelUnavailable, match="cannot be written"):
        pull(ENTRY, tmp_path / "file", FileSource(tmp_path / "big.pth"), quiet)


def test_a_bucket_is_a_mirror(storage: ObjectStorage, settings: Settings, tmp_path: Path) -> None:
    storage.put("weights/big.pth", DATA, "application/octet-stream")
    source = choose_source(
        ENTRY, f"s3://{settings.s3_bucket}/weights/", lambda: s3_client(settings)
    )
    assert isinstance(source, S3Source)
    part_of(tmp_path).write_bytes(DATA[:1000])
    reported: list[int] = []
    path = pull(ENTRY, tmp_path, source, lambda done, _total: reported.append(done))
    assert path.read_bytes() == DATA
    assert reported[0] == 1000


def test_the_download_of_a_replaced_object_starts_again(
    storage: ObjectStorage, settings: Settings, tmp_path: Path
) -> None:
    storage.put("weights/big.pth", DATA, "application/octet-stream")
    part_of(tmp_path).write_bytes(b"x" * 1000)
    (tmp_path / "big.pth.part.etag").write_text('"0123456789abcdef0123456789abcdef"')
    source = S3Source(s3_client(settings), settings.s3_bucket, "weights/big.pth")
    assert pull(ENTRY, tmp_path, source, quiet).read_bytes() == DATA


def test_a_missing_object_is_a_clear_error(
    storage: ObjectStorage, settings: Settings, tmp_path: Path
) -> None:
    source = S3Source(s3_client(settings), settings.s3_bucket, "weights/nothing.pth")
    with pytest.raises(WeightsMissing, match="NoSuchKey"):
        pull(ENTRY, tmp_path, source, quiet)


def test_a_request_to_a_silent_storage_is_repeated_and_then_an_error(tmp_path: Path) -> None:
    client = boto3.client(
        "s3",
        endpoint_url="http://127.0.0.1:9",
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}),
    )
    with pytest.raises(WeightsMissing, match="Run the same command again"):
        pull(ENTRY, tmp_path, S3Source(client, "bucket", "big.pth"), quiet)


def test_after_a_range_that_was_not_requested_the_download_starts_again(
    site: Site, tmp_path: Path
) -> None:
    part_of(tmp_path).write_bytes(DATA[:1000])
    site.lies_about_ranges = True
    assert pull(ENTRY, tmp_path, HttpSource(site.url), quiet).read_bytes() == DATA


def test_the_mirror_determines_the_source() -> None:
    assert choose_source(ENTRY, None, no_s3) == HttpSource("https://example.org/big.pth")
    assert choose_source(ENTRY, "https://m.example/w/", no_s3) == HttpSource(
        "https://m.example/w/big.pth"
    )
    assert choose_source(ENTRY, "file:///srv/w", no_s3) == FileSource(Path("/srv/w/big.pth"))


def test_a_model_in_the_package_cannot_be_pulled() -> None:
    with pytest.raises(WeightsMissing, match="comes with the package"):
        choose_source(CATALOGUE[STARTER], None, no_s3)


def no_s3() -> Any:
    raise AssertionError("this mirror is not in S3")


def s3_client(settings: Settings) -> Any:
    assert settings.s3_access_key_id
    assert settings.s3_secret_access_key
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key_id.get_secret_value(),
        aws_secret_access_key=settings.s3_secret_access_key.get_secret_value(),
    )
