from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from deploy.embedded.seaweedfs import SeaweedFS
from tests.deploy.embedded.processes import alive


def s3_client(server: SeaweedFS, secret: str | None = None) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=secret or server.secret_access_key,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 2}),
    )


def test_seaweedfs_refuses_a_wrong_secret_and_no_secret(seaweedfs: SeaweedFS) -> None:
    client = s3_client(seaweedfs, secret="wrong" * 8)
    with pytest.raises(ClientError) as refused:
        client.list_objects_v2(Bucket=seaweedfs.bucket)
    client.close()
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_seaweedfs_keeps_objects_over_a_kill_and_a_start_on_other_ports(tmp_path: Path) -> None:
    with SeaweedFS(tmp_path) as first:
        client = s3_client(first)
        client.put_object(Bucket=first.bucket, Key="kept", Body=b"bytes" * 1000)
        client.close()
        first.kill()
    second = SeaweedFS(
        tmp_path, access_key_id=first.access_key_id, secret_access_key=first.secret_access_key
    )
    with second:
        assert second.ports != first.ports
        client = s3_client(second)
        kept = client.get_object(Bucket=second.bucket, Key="kept")["Body"].read()
        client.close()
    assert kept == b"bytes" * 1000


def test_nothing_is_left_of_seaweedfs_after_stop(tmp_path: Path) -> None:
    with SeaweedFS(tmp_path) as server:
        assert server.child is not None
        pid, ports = server.child.pid, set(server.ports.values())
        assert alive(pid)
    assert not alive(pid)
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
    left = Path("/tmp").glob("seaweedfs-*.sock")
    assert not [path for path in left for port in ports if str(port) in path.name]
