"""nginx before the gateways: its own configuration, and one that somebody else wrote."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from acceptance import yard as yards
from acceptance.scaled.conftest import ScaledYard, free_port
from acceptance.scaled.test_several_gateways import stream
from acceptance.yard import wait_until
from support.scripted_engine import TEXT
from tokenyard.fleet.services.nginx import NginxPlan, find_nginx, render, serve_command

SKIP_NGINX = "TOKENYARD_SKIP_NGINX"
# Between two bytes of an answer; some of nginx's neighbours have as little, in proportion.
PATIENCE_SECONDS = 3


@pytest.fixture(scope="module")
def nginx() -> str:
    """The program. Without it the tests fail, unless they are left out aloud."""
    if os.environ.get(SKIP_NGINX) == "1":
        pytest.skip(f"{SKIP_NGINX}=1: nginx was NOT tested")
    found = find_nginx()
    if found is None:
        pytest.fail(f"there is no nginx; install it, or set {SKIP_NGINX}=1", pytrace=False)
    return found


@pytest.fixture
def careless_nginx(nginx: str, scaled: ScaledYard, tmp_path: Path) -> Iterator[str]:
    """One with nginx's defaults, and with compression: as an operator has it who read nothing."""
    port = free_port()
    gateways = tuple(urlsplit(url).netloc for url in scaled.gateways)
    told = render(NginxPlan(f"127.0.0.1:{port}", gateways, tmp_path))
    assert "proxy_read_timeout 3600s;" in told
    told = told.replace("timeout 3600s;", f"timeout {PATIENCE_SECONDS}s;")
    for line in ("proxy_buffering off;", "proxy_request_buffering off;"):
        assert line in told
        told = told.replace(line, "")
    assert "gzip off;" in told
    told = told.replace("gzip off;", "gzip on; gzip_types *; gzip_proxied any; gzip_min_length 0;")
    file = tmp_path / "nginx.conf"
    file.write_text(told)
    with subprocess.Popen(serve_command(nginx, file)) as process:
        base = f"http://127.0.0.1:{port}"
        wait_until(lambda: scaled.is_ready(base), 10, "nginx")
        yield base
        process.send_signal(signal.SIGTERM)


def test_a_stream_passes_nginx_with_its_default_buffering_token_by_token(
    scaled: ScaledYard, careless_nginx: str
) -> None:
    pieces = list(stream(scaled, careless_nginx, max_tokens=200))
    times = [at for at, piece in pieces if piece]
    assert TEXT.startswith("".join(piece for _, piece in pieces))
    assert times[-1] - times[0] > 0.4
    assert len(set(times)) > 50


def test_a_stream_outlives_a_silence_longer_than_nginx_waits(
    scaled: ScaledYard, careless_nginx: str
) -> None:
    """Row 27: the model servers stop; what nginx hears meanwhile are heartbeats."""
    pieces = stream(scaled, careless_nginx)
    text = next(pieces)[1]
    for engine in scaled.engines:
        engine.send_signal(signal.SIGSTOP)
    try:
        time.sleep(2 * PATIENCE_SECONDS)
    finally:
        for engine in scaled.engines:
            engine.send_signal(signal.SIGCONT)
    assert text + "".join(piece for _, piece in pieces) == TEXT


def test_our_configuration_is_what_the_command_prints(nginx: str, tmp_path: Path) -> None:
    printed = yards.run(
        "nginx",
        *("--listen", "127.0.0.1:8080", "--gateway", "10.0.0.1:8400", "--gateway", "10.0.0.2:8400"),
        *("--folder", str(tmp_path)),
        home=tmp_path,
    ).stdout
    file = tmp_path / "nginx.conf"
    file.write_text(printed)
    subprocess.run([nginx, "-t", "-p", str(tmp_path), "-c", str(file)], check=True)
    assert "server 10.0.0.2:8400" in printed
