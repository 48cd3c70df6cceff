"""Alert rules and dashboard: the metrics exist, and the rules fire on the series of their tests."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "deploy" / "observability"
METRICS = set(re.findall(r"(?m)^\| `(facemend_\w+)`", (ROOT / "docs" / "metrics.md").read_text()))
ALERTS = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]


def expressions() -> Iterator[tuple[str, str]]:
    for alert in ALERTS:
        yield alert["alert"], alert["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"]
    chart = (ROOT / "deploy" / "helm" / "facemend" / "templates" / "worker.yaml").read_text()
    (query,) = re.findall(r"query: (.+)", chart)
    yield "the query of KEDA", re.sub(r"{{ \$\w+ \| quote }}", '"m"', query)


def promtool(*arguments: str) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    argv = [program, *arguments]
    done = subprocess.run(argv, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


@pytest.mark.parametrize(("name", "expression"), list(expressions()))
def test_each_expression_parses_and_names_documented_metrics(name: str, expression: str) -> None:
    promql_parser.parse(expression)
    used = set(re.findall(r"facemend_\w+", expression))
    base = {re.sub(r"_(bucket|sum|count)$", "", metric) for metric in used}
    assert used, name
    assert base <= METRICS


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    headings = re.findall(r"(?m)^## (\w+)$", (ROOT / "docs" / "runbooks.md").read_text())
    assert headings == [alert["alert"] for alert in ALERTS]
    for alert in ALERTS:
        anchor = alert["alert"].lower()
        assert alert["annotations"]["runbook_url"].endswith(f"/docs/runbooks#{anchor}")
        assert alert["annotations"]["summary"]
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}


def test_the_tests_of_the_rules_have_each_alert() -> None:
    text = (FOLDER / "alerts_test.yml").read_text()
    assert [alert["alert"] for alert in ALERTS if alert["alert"] not in text] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
        # In Docker, the rules lie in /etc/prometheus.
        ("check", "config", "--syntax-only", "prometheus.yml"),
    ],
)
def test_prometheus_accepts_the_files_and_the_rules_fire_as_their_tests_say(
    arguments: tuple[str, ...],
) -> None:
    promtool(*arguments)


def test_each_expression_of_the_dashboard_has_a_result_on_recorded_series(tmp_path: Path) -> None:
    recorded = yaml.safe_load((Path(__file__).parent / "recorded_series.yml").read_text())
    # Some panels hide what did not happen.
    shown = [target["expr"].removesuffix(" > 0") for panel in PANELS for target in panel["targets"]]
    tests = {
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": recorded,
                "promql_expr_test": [
                    {
                        "expr": f"count({expression}) > bool 0",
                        "eval_time": "5m",
                        "exp_samples": [{"labels": "{}", "value": 1}],
                    }
                    for expression in shown
                ],
            }
        ],
    }
    file = tmp_path / "dashboard_test.yml"
    file.write_text(yaml.safe_dump(tests))
    promtool("test", "rules", str(file))


def test_the_dashboard_is_one_screen_without_gaps_and_overlaps() -> None:
    cells = [
        (x, y)
        for panel in PANELS
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells)) == 24 * 22
    assert max(x for x, _ in cells) == 23
