"""docker-compose.yml: its settings and limits; and its Redis, started without Docker."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from redis import AuthenticationError, Redis, RedisError
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from deploy.embedded.child_process import ChildProcess, free_port
from deploy.embedded.valkey import valkey_binary
from shared.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
Connect = Callable[..., Redis]
PASSWORD, ADMIN_PASSWORD = """a "b' \\ $c # ä""", "of the admin"


@pytest.fixture(params=["", ADMIN_PASSWORD], ids=["without admin", "with admin"])
def connect(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Start the server; ``connect(user, password)`` returns a client."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    shell, flag, script = compose["services"]["redis"]["command"]
    port = free_port()
    script = (
        script.replace("$$", "$")
        .replace("/tmp/", f"{tmp_path}/")
        .replace("/data", str(tmp_path))
        .replace("redis-server", valkey_binary())
        .replace("--bind 0.0.0.0", f"--bind 127.0.0.1 --port {port}")
    )
    env = {
        "PATH": "/usr/bin:/bin",
        "REDIS_PASSWORD": PASSWORD,
        "REDIS_ADMIN_PASSWORD": request.param,
        "REDIS_MAXMEMORY": "3gb",
    }
    clients: list[Redis] = []

    def connect(username: str, password: str) -> Redis:
        retry = Retry(NoBackoff(), 0)
        client: Redis = Redis(port=port, username=username, password=password, retry=retry)
        clients.append(client)
        return client

    def responds() -> bool:
        try:
            return bool(connect("default", PASSWORD).ping())
        except RedisError:
            return False

    with ChildProcess("redis", [shell, flag, script], folder=tmp_path, env=env) as server:
        server.wait_until(responds, timeout_s=60)
        yield connect
        for client in clients:
            client.close()


def test_the_service_has_its_password_and_no_administrative_command(connect: Connect) -> None:
    client = connect("default", PASSWORD)
    assert client.set("key", "value")
    for command in ("CONFIG GET maxmemory", "FLUSHALL", "KEYS *", "SHUTDOWN"):
        with pytest.raises(NoPermissionError):
            client.execute_command(*command.split())  # type: ignore[no-untyped-call]
    memory = client.info("memory")
    assert memory["maxmemory_policy"] == "noeviction"  # type: ignore[index]
    assert memory["maxmemory"] == 3 * 2**30  # type: ignore[index]
    with pytest.raises(AuthenticationError):
        connect("default", "wrong").ping()


def test_the_admin_exists_only_with_a_password(
    connect: Connect, request: pytest.FixtureRequest
) -> None:
    admin = connect("admin", ADMIN_PASSWORD)
    if "without" in request.node.callspec.id:
        with pytest.raises(AuthenticationError):
            admin.ping()
    else:
        assert admin.flushdb()


COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
EXAMPLE = (ROOT / ".env.example").read_text()
ENVIRONMENT = SERVICES["api"]["environment"]
#: The pool of each service that has our settings.
POOLS = {
    name: service["environment"].get("FACEMEND_POOL", "")
    for name, service in SERVICES.items()
    if (service.get("environment") or {}).items() >= ENVIRONMENT.items()
}
#: Settings that the images decide.
OF_THE_IMAGES = {"api_bind", "models_dir", "metrics_bind", "device"}
OF_WORKERS = {"pool"}


def test_each_setting_can_be_given_in_the_env_file() -> None:
    expected = {f"FACEMEND_{name.upper()}" for name in set(Settings.model_fields)}
    others = {f"FACEMEND_{name.upper()}" for name in OF_THE_IMAGES | OF_WORKERS}
    assert set(ENVIRONMENT) == expected - others


def test_workers_on_cpus_and_gpus_may_be_in_two_pools() -> None:
    gpus = {f"worker-gpu-{number}": "${GPU_POOL:-default}" for number in range(8)}
    assert {"api": "", "notifier": "", "worker": "${CPU_POOL:-default}"} | gpus == POOLS


def test_each_variable_of_the_env_file_is_used() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    names = set(re.findall(r"(?m)^([A-Z0-9_]+)=", EXAMPLE))
    assert len(names) >= 12
    assert [name for name in names if f"${{{name}" not in text and f"{name}:" not in text] == []


def test_prometheus_scrapes_every_process_with_metrics() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "observability" / "prometheus.yml").read_text())
    scraped = {
        (name, target["port"])
        for job in config["scrape_configs"]
        for target in job["dns_sd_configs"]
        for name in target["names"]
    }
    port = int(ENVIRONMENT["FACEMEND_METRICS_PORT"])
    assert scraped == {("api", 8000), ("workers", port), ("notifier", port)}
    for name in POOLS.keys() - {"api", "notifier"}:
        assert SERVICES[name]["networks"]["inside"]["aliases"] == ["workers"], name


def test_redis_refuses_jobs_before_the_kernel_kills_it() -> None:
    limits = dict(re.findall(r"(?m)^(REDIS_(?:MAX)?MEMORY)=(\d+)gb?$", EXAMPLE))
    assert int(limits["REDIS_MAXMEMORY"]) == int(limits["REDIS_MEMORY"]) * 3 / 4


def test_the_values_of_the_env_file_are_the_defaults() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    given = dict(re.findall(r"(?m)^([A-Z0-9_]+)=(.+)$", EXAMPLE))
    defaults = dict(re.findall(r"\$\{([A-Z0-9_]+):-([^}]*)\}", text))
    assert given.items() <= defaults.items()


def test_every_service_has_limits_and_rotates_its_log() -> None:
    for name, service in SERVICES.items():
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}, name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name


def test_each_gpu_has_a_worker_of_its_own() -> None:
    devices = {}
    for number in range(8):
        service = SERVICES[f"worker-gpu-{number}"]
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        devices[number] = device["device_ids"]
        counts = {"gpu": 1, "gpu-2": 2, "gpu-4": 4, "gpu-8": 8}
        assert service["profiles"] == [name for name, count in counts.items() if number < count]
    assert devices == {number: [f"${{GPU_{number}:-{number}}}"] for number in range(8)}


def test_only_the_proxy_publishes_the_api_so_that_it_can_be_scaled() -> None:
    assert "ports" not in SERVICES["api"]
    (port,) = SERVICES["proxy"]["ports"]
    assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("name", ["api", "worker", "s3", "proxy"])
def test_each_image_says_what_it_is_and_runs_as_an_unprivileged_user(name: str) -> None:
    text = (ROOT / "deploy" / "docker" / f"Dockerfile.{name}").read_text()
    assert f'org.opencontainers.image.title="facemend-{name}"' in text
    assert re.findall(r"(?m)^USER (.+)$", text) == ["10001"]
