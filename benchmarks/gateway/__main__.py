"""What the gateway costs: `python -m benchmarks.gateway [--quick] [--out FILE]`, about 5 minutes.

One fake model server; before it, one after the other: nothing, a raw pass-through on the same
stack with aiohttp behind it and one with our own connections, our gateway with keys, limits,
ledger and metrics on, and LiteLLM where it is installed
(`python3 -m venv .make/litellm && .make/litellm/bin/pip install -r requirements/peers.txt`). CPU
time is that of the measured process by /proc, so that a busy machine bends it least; on one that
has two cores or more the measured process has the first to itself. Added latency is compared with
the server alone, measured right before.
"""

import argparse
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LITELLM = ROOT / ".make" / "litellm" / "bin"
TICK = os.sysconf("SC_CLK_TCK")
# Streams of 20 tokens a second count as kept while the latest hundredth is not later than this.
LAG_MS_MAX = 20.0
KEPT_OURS = (400, 600, 800)
KEPT_LITELLM = (20, 30, 40)
OURS, LITELLM_NAME = "tokenyard", "litellm"
RAW_AIOHTTP, RAW_OURS = "raw pass-through, aiohttp", "raw pass-through, our connections"
SETTINGS = """
[gateway]
port = {port}
[limits]
requests_per_minute = 100000000
requests_burst = 1000000
input_tokens_per_minute = 1000000000
output_tokens_per_minute = 1000000000
concurrent_requests_per_key = 10000
concurrent_requests = 10000
[fleet]
engines = 0
[upstreams]
servers = [{{ name = "fake", url = "http://127.0.0.1:{upstream}", models = ["fake"] }}]
[ledger]
prices = [{{ model = "*", input = "0.15", cached_input = "0.075", output = "0.6" }}]
"""


@dataclass
class Target:
    """Something that listens, and the process whose cost is measured."""

    name: str
    port: int
    pid: int | None
    key: str = ""
    model: str = "fake"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def start(stack: ExitStack, command: list[str], core: int, **more: Any) -> subprocess.Popen[bytes]:
    """A process on one core, ended with the stack."""
    if (os.cpu_count() or 1) > 1 and Path("/usr/bin/taskset").exists():
        command = ["taskset", "-c", str(core), *command]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more
    )

    def end() -> None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()

    stack.callback(end)
    return process


def wait_for(port: int, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def start_ours(stack: ExitStack, upstream: int) -> Target:
    home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    port = free_port()
    (home / "settings.toml").write_text(SETTINGS.format(port=port, upstream=upstream))
    with ExitStack() as first:
        # The first start makes the tables, and keeps in memory what it needed for that.
        _up(first, home)
    told, pid = _up(stack, home)
    time.sleep(1.0)
    return Target(OURS, port, pid, told["api_key"])


def _up(stack: ExitStack, home: Path) -> tuple[dict[str, Any], int]:
    """Our gateway on that folder, once it is ready; what it tells, and its process."""
    ready = home / "ready.json"
    ready.unlink(missing_ok=True)
    environment = {**os.environ, "TOKENYARD_HOME": str(home), "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "tokenyard", "up", "--ready-file", str(ready)]
    process = start(stack, command, 0, env=environment)
    deadline = time.monotonic() + 60
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the gateway did not start")
        time.sleep(0.1)
    told: dict[str, Any] = json.loads(ready.read_text())
    return told, int(told["pid"])


def start_raw(stack: ExitStack, upstream: int, client: str) -> Target:
    port = free_port()
    command = [sys.executable, str(HERE / "raw_pass_through.py"), str(port), str(upstream), client]
    process = start(stack, command, 0, env={**os.environ, "PYTHONPATH": str(ROOT / "src")})
    wait_for(port)
    return Target(RAW_AIOHTTP if client == "aiohttp" else RAW_OURS, port, process.pid)


def start_litellm(stack: ExitStack, upstream: int) -> Target | None:
    if not (LITELLM / "litellm").exists():
        return None
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    port = free_port()
    model = {
        "model_name": "fake",
        "litellm_params": {
            "model": "openai/fake", "api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": "x",
        },
    }  # fmt: skip
    config = {"model_list": [model], "general_settings": {"master_key": "sk-bench"}}
    (folder / "config.yaml").write_text(json.dumps(config))
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONPATH": ""}
    # Without compiled modules it would read one anew with every request.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [
        str(LITELLM / "litellm"), "--config", str(folder / "config.yaml"), "--port", str(port),
        "--host", "127.0.0.1", "--num_workers", "1",
    ]  # fmt: skip
    process = start(stack, command, 0, env=environment, cwd=folder)
    wait_for(port, 120)
    time.sleep(10)
    return Target(LITELLM_NAME, port, process.pid, "sk-bench")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


def load(target: Target, **job: Any) -> dict[str, Any]:
    """Run the client and add what the target spent."""
    job |= {"port": target.port, "key": target.key, "model": target.model}
    command = [sys.executable, str(HERE / "client.py"), json.dumps(job)]
    if (os.cpu_count() or 1) > 1 and Path("/usr/bin/taskset").exists():
        command = ["taskset", "-c", "1", *command]
    before = 0.0 if target.pid is None else cpu_seconds(target.pid)
    client = subprocess.Popen(command, stdout=subprocess.PIPE)
    memory = 0.0
    while client.poll() is None:
        if target.pid is not None:
            memory = max(memory, memory_mb(target.pid))
        time.sleep(0.2)
    assert client.stdout is not None
    told: dict[str, Any] = json.loads(client.stdout.read())
    if target.pid is not None:
        told["cpu_seconds"] = round(cpu_seconds(target.pid) - before, 3)
        told["memory_mb"] = memory
    return told


def measure(target: Target, direct: Target, quick: bool) -> dict[str, Any]:
    """Every figure of one target."""
    slow = target.name == LITELLM_NAME
    load(target, mode="whole", seconds=2, workers=8)
    requests = 100 if quick else 300
    beside = load(direct, mode="rate", requests=requests, pause=0.01)
    rate = load(target, mode="rate", requests=requests, pause=0.01)
    whole = load(target, mode="whole", seconds=3 if quick else 8, workers=64)
    count = 20 if slow else 200
    streams = load(target, mode="stream", workers=count, chunks=100 if quick else 160, pause=0.05)
    figures: dict[str, Any] = {
        "requests_per_second": round(whole["requests"] / whole["seconds"], 1),
        "low_rate_p50_ms": rate["p50_ms"],
        "low_rate_p99_ms": rate["p99_ms"],
        "added_p50_ms": round(rate["p50_ms"] - beside["p50_ms"], 3),
        "added_p99_ms": round(rate["p99_ms"] - beside["p99_ms"], 3),
        "streams": {"streams": count, **_told(streams)},
    }
    if target.pid is not None:
        figures["cpu_ms_per_request"] = round(1000 * whole["cpu_seconds"] / whole["requests"], 4)
        figures["cpu_seconds_per_1000_chunks"] = round(
            1000 * streams["cpu_seconds"] / max(streams["chunks"], 1), 4
        )
        figures["memory_mb_with_streams"] = streams["memory_mb"]
    if not quick and target.name in (OURS, LITELLM_NAME):
        figures |= search_kept(target, KEPT_LITELLM if slow else KEPT_OURS)
    return figures


def search_kept(target: Target, counts: tuple[int, ...]) -> dict[str, Any]:
    """The most streams of these counts that are kept at 20 tokens a second."""
    kept, tries = 0, []
    for count in counts:
        told = load(target, mode="stream", workers=count, chunks=120, pause=0.05)
        tries.append({"streams": count, **_told(told)})
        if told["failed"] or told["p99_ms"] > LAG_MS_MAX:
            break
        kept = count
    return {"streams_kept": kept, "streams_tried": tries}


def _told(streams: dict[str, Any]) -> dict[str, Any]:
    return {
        "failed": streams["failed"],
        "first_failure": streams["first_failure"],
        "lag_p50_ms": streams["p50_ms"],
        "lag_p99_ms": streams["p99_ms"],
    }


def compare(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Ours beside the others, as ratios of the same run."""
    ours = found[OURS]
    told: dict[str, Any] = {
        "added_p50_ms": ours["added_p50_ms"],
        "added_p99_ms": ours["added_p99_ms"],
    }
    for name, word in ((RAW_AIOHTTP, "raw_aiohttp"), (RAW_OURS, "raw_our_connections")):
        raw = found[name]
        for figure, short in (
            ("cpu_ms_per_request", "cpu_per_request"),
            ("cpu_seconds_per_1000_chunks", "cpu_per_chunk"),
        ):
            told[f"{short}_over_{word}"] = round(ours[figure] / raw[figure], 2)
    peer = found.get(LITELLM_NAME)
    if peer is not None:
        told["requests_over_litellm"] = round(
            ours["requests_per_second"] / peer["requests_per_second"], 1
        )
        for figure, short in (
            ("cpu_ms_per_request", "cpu_per_request"),
            ("cpu_seconds_per_1000_chunks", "cpu_per_chunk"),
        ):
            told[f"litellm_{short}_over_ours"] = round(peer[figure] / ours[figure], 1)
    return told


def describe_run(quick: bool) -> dict[str, Any]:
    """Where and of what these figures are."""
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    peer = (ROOT / "requirements" / "peers.txt").read_text().splitlines()
    return {
        "command": f"python -m benchmarks.gateway{' --quick' if quick else ''}",
        "commit": commit.stdout.strip(),
        "machine": {
            "cores": os.cpu_count(),
            "kind": platform.processor() or platform.machine(),
            "python": platform.python_version(),
        },
        "litellm": next(one for one in peer if one.startswith("litellm==")),
        "load_before": round(os.getloadavg()[0], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a third of the time, no search")
    parser.add_argument("--out", type=Path, default=HERE.parent / "results" / "gateway.json")
    options = parser.parse_args()
    told = describe_run(options.quick)
    found: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        upstream = free_port()
        start(stack, [sys.executable, str(HERE / "fake_server.py"), str(upstream)], 1)
        wait_for(upstream)
        direct = Target("direct", upstream, None)
        found["direct"] = measure(direct, direct, options.quick)
        for make in (
            lambda one: start_raw(one, upstream, "aiohttp"),
            lambda one: start_raw(one, upstream, "ours"),
            lambda one: start_ours(one, upstream),
            lambda one: start_litellm(one, upstream),
        ):
            with ExitStack() as one:
                target = make(one)
                if target is not None:
                    found[target.name] = measure(target, direct, options.quick)
                    sys.stderr.write(f"{target.name}: {json.dumps(found[target.name])}\n")
    told |= {
        "load_after": round(os.getloadavg()[0], 2),
        "targets": found,
        "ratios": compare(found),
    }
    options.out.write_text(json.dumps(told, indent=2) + "\n")
    sys.stdout.write(json.dumps(told["ratios"], indent=2) + "\n")


if __name__ == "__main__":
    main()
