"""What lies under deploy/ fits the code: metrics, settings, commands and nginx's file are real."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from tokenyard.cli.commands import main
from tokenyard.fleet.services.nginx import find_nginx
from tokenyard.runtime.settings import load_settings
from tokenyard.telemetry.metrics import EngineMetrics, GatewayMetrics, JobMetrics

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
COMPOSE = DEPLOY / "compose"
_METRIC = re.compile(r"\btokenyard_(?:gateway|engine|jobs)_[a-z_]+")


def served_names() -> set[str]:
    """Every name of a series that a process of ours serves."""
    found = set()
    for metrics in (EngineMetrics(), GatewayMetrics(), JobMetrics()):
        for family in metrics.registry.collect():
            found.add(family.name)
            ends = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
            found |= {family.name + end for end in ends.get(family.type, [])}
    return found


@pytest.mark.parametrize("name", ["grafana/tokenyard.json", "prometheus/alerts.yml"])
def test_every_metric_that_is_named_exists(name: str) -> None:
    named = set(_METRIC.findall((DEPLOY / name).read_text()))
    assert len(named) > 5
    assert not named - served_names()


def test_the_dashboard_is_one() -> None:
    board = json.loads((DEPLOY / "grafana/tokenyard.json").read_text())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        if panel["type"] != "row":
            assert panel["targets"]
            assert all(target["expr"] and target["legendFormat"] for target in panel["targets"])


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def test_every_alert_says_what_it_means() -> None:
    (group,) = read("prometheus/alerts.yml")["groups"]
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


def test_what_is_scraped_is_there() -> None:
    services = read("compose/compose.yaml")["services"]
    scraped = read("prometheus/prometheus.yml")["scrape_configs"]
    hosts = [
        target.partition(":")[0]
        for job in scraped
        for config in job["static_configs"]
        for target in config["targets"]
    ]
    assert hosts
    assert set(hosts) <= set(services)


def test_the_containers_settings_are_settings(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text((COMPOSE / "settings.toml").read_text())
    services = read("compose/compose.yaml")["services"]
    ours = {name: service for name, service in services.items() if service.get("build")}
    assert set(ours) == {"gateway-1", "gateway-2", "engine"}
    for service in ours.values():
        told = {name: str(value) for name, value in service["environment"].items()}
        load_settings(tmp_path, told)
        assert (COMPOSE / service["build"]["context"]).resolve() == DEPLOY.parent
        for word in service.get("command", [])[:1]:
            assert word in main.commands
    settings = load_settings(tmp_path, ours["gateway-1"]["environment"])
    assert settings.fleet.engines == 0
    (server,) = settings.upstreams.servers
    engine = ours["engine"]["environment"]
    assert server.url == f"http://engine:{engine['TOKENYARD_ENGINE__PORT']}"


def test_the_image_starts_a_command_of_ours_and_copies_what_exists() -> None:
    lines = (COMPOSE / "Dockerfile").read_text().splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--" not in line]
    assert copied
    for names in copied:
        for name in names:
            assert (DEPLOY.parent / name).exists(), name
    (command,) = [json.loads(line[4:]) for line in lines if line.startswith("CMD ")]
    done = CliRunner().invoke(main, [command[0], "--help"])
    assert done.exit_code == 0
    assert command[1] in done.output


def test_the_file_for_nginx_is_what_the_command_prints() -> None:
    hosts = ["gateway-1:8400", "gateway-2:8400"]
    asked = [word for host in hosts for word in ("--gateway", host)]
    printed = CliRunner().invoke(main, ["nginx", *asked])
    assert printed.output == (DEPLOY / "nginx/tokenyard.conf").read_text()


def test_nginx_reads_its_file(tmp_path: Path) -> None:
    program = find_nginx()
    if program is None:
        pytest.skip("there is no nginx")
    text = (DEPLOY / "nginx/tokenyard.conf").read_text()
    file = tmp_path / "nginx.conf"
    # The hosts are those of containers; elsewhere nobody knows their names.
    file.write_text(f'pid "{tmp_path}/pid";\n' + re.sub(r"gateway-\d:", "127.0.0.1:", text))
    checked = subprocess.run(
        [program, "-t", "-p", str(tmp_path), "-c", str(file)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr
