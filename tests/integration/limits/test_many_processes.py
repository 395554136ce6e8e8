"""Four processes with 32 clients each share one limit: never above it, and hardly below."""

import json
import os
import subprocess
import sys
from pathlib import Path

from integration.limits.counting_client import BURST, PER_MINUTE
from support.valkey_server import ValkeyServer

HERE = Path(__file__).parent
SECONDS = 6.0


def test_the_admitted_number_is_the_limit(valkey_server: ValkeyServer) -> None:
    paths = [str(Path(__file__).parents[3] / "src"), str(HERE.parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, str(HERE / "counting_client.py"), f"{valkey_server.url}/13"]
    clients = [
        subprocess.Popen(
            [*command, str(SECONDS), "32"], stdout=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(4)
    ]
    told = [json.loads(client.communicate(timeout=120)[0]) for client in clients]
    admitted = sum(one["admitted"] for one in told)
    took = max(one["last"] for one in told) - min(one["first"] for one in told)
    allowed = BURST + PER_MINUTE * took / 60
    assert admitted <= allowed
    assert admitted >= 0.99 * allowed
