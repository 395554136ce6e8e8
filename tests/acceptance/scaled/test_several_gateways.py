"""Several gateways are one Tokenyard: behind nginx, through deaths, restarts and revocations."""

import http.client
import json
import os
import signal
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import openai
import psycopg
import pytest
from openai.types.chat import ChatCompletionMessageParam

from acceptance import yard as yards
from acceptance.scaled.conftest import GATEWAYS, ScaledYard
from acceptance.yard import wait_until
from support.scripted_engine import MODEL, TEXT

ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Say something long."}]


def client_of(scaled: ScaledYard, base: str | None = None, **how: Any) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{base or scaled.yard.url}/v1",
        api_key=scaled.yard.api_key,
        timeout=60,
        **{"max_retries": 0, **how},
    )


def stream(scaled: ScaledYard, base: str | None = None, **more: Any) -> Iterator[tuple[float, str]]:
    """Pieces of text, each with the time at which it came."""
    body = {"model": MODEL, "messages": ASK, "stream": True, **more}
    parts = urlsplit(base or scaled.yard.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    headers = {
        "authorization": f"Bearer {scaled.yard.api_key}",
        "content-type": "application/json",
        "accept-encoding": "gzip",
    }
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    yield from read_pieces(answer)
    connection.close()


def read_pieces(answer: http.client.HTTPResponse) -> Iterator[tuple[float, str]]:
    """As a client does that unpacks what a proxy has packed."""
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 16)
    packed = answer.getheader("content-encoding") == "gzip"
    rest = b""
    while data := answer.read1():
        *lines, rest = (rest + (unpack.decompress(data) if packed else data)).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    yield time.monotonic(), choice["delta"].get("content") or ""


def test_all_gateways_answer_behind_one_address(scaled: ScaledYard) -> None:
    before = [scaled.metric(url, "tokenyard_gateway_requests_total") for url in scaled.gateways]
    with client_of(scaled) as client:
        for _ in range(30):
            assert [model.id for model in client.models.list()] == [MODEL]
    after = [scaled.metric(url, "tokenyard_gateway_requests_total") for url in scaled.gateways]
    assert len(after) == GATEWAYS
    assert all(now > then for now, then in zip(after, before, strict=True))


def test_a_stream_passes_nginx_token_by_token(scaled: ScaledYard) -> None:
    pieces = list(stream(scaled, max_tokens=200))
    text = "".join(piece for _, piece in pieces)
    assert text
    assert TEXT.startswith(text)
    times = [at for at, piece in pieces if piece]
    # Some 200 tokens of 4 ms each: had they been kept back, they would have come at once.
    assert times[-1] - times[0] > 0.4
    assert len(set(times)) > 50


def test_commands_beside_it_work_on_its_database(scaled: ScaledYard) -> None:
    made = yards.run("keys", "create", "--name", "beside", home=scaled.yard.home).stdout.strip()
    assert "beside" in yards.run("keys", "list", home=scaled.yard.home).stdout
    for url in scaled.gateways:
        headers = {"authorization": f"Bearer {made}"}
        assert scaled.yard.request("GET", "/v1/models", headers=headers, base=url).status == 200


def test_a_key_that_is_revoked_is_worthless_at_every_gateway_within_a_second(
    scaled: ScaledYard,
) -> None:
    made = yards.run("keys", "create", "--name", "short", home=scaled.yard.home).stdout.strip()
    headers = {"authorization": f"Bearer {made}"}

    def statuses() -> set[int]:
        answers = [
            scaled.yard.request("GET", "/v1/models", headers=headers, base=url)
            for url in scaled.gateways
        ]
        return {answer.status for answer in answers}

    assert statuses() == {200}
    listed = json.loads(yards.run("keys", "list", "--json", home=scaled.yard.home).stdout)
    (key,) = [key for key in listed if key["name"] == "short"]
    yards.run("keys", "revoke", key["id"], home=scaled.yard.home)
    time.sleep(1.0)
    assert statuses() == {401}


def test_a_gateway_that_is_killed_is_started_again_and_the_others_go_on(
    scaled: ScaledYard,
) -> None:
    victim = scaled.gateway_pid(0)
    with client_of(scaled, max_retries=3) as client:
        running = ThreadPoolExecutor(1).submit(
            lambda: "".join(piece for _, piece in stream(scaled, scaled.gateways[1]))
        )
        os.kill(victim, signal.SIGKILL)
        for _ in range(20):
            assert [model.id for model in client.models.list()] == [MODEL]
    assert running.result(30) == TEXT
    scaled.wait_until_whole()
    assert scaled.gateway_pid(0) != victim


def test_a_rolling_restart_fails_nobody_who_tries_again(scaled: ScaledYard) -> None:
    stop = threading.Event()
    done: list[str] = []
    failed: list[Exception] = []

    def ask() -> None:
        with client_of(scaled, max_retries=5) as client:
            while not stop.is_set():
                try:
                    answer = client.chat.completions.create(
                        model=MODEL, messages=ASK, max_tokens=20
                    )
                except openai.OpenAIError as error:
                    failed.append(error)
                else:
                    done.append(answer.choices[0].message.content or "")

    callers = [threading.Thread(target=ask) for _ in range(4)]
    for caller in callers:
        caller.start()
    for number in range(GATEWAYS):
        os.kill(scaled.gateway_pid(number), signal.SIGTERM)
        # It is gone, and the one in its place is ready.
        time.sleep(0.5)
        scaled.wait_until_whole()
    stop.set()
    for caller in callers:
        caller.join(60)
    assert not failed
    assert len(done) > 20
    assert all(TEXT.startswith(text) for text in done)


@pytest.mark.parametrize("service", ["postgres", "valkey"])
def test_a_store_that_is_killed_comes_back_and_nothing_is_lost(
    scaled: ScaledYard, service: str
) -> None:
    pattern = {"postgres": r"bin/postgres .*-D", "valkey": "valkey-server|redis-server"}[service]
    with client_of(scaled, max_retries=8) as client, ThreadPoolExecutor(4) as callers:
        before = total_requests(scaled)

        def ask(number: int) -> str:
            answer = client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=10)
            return answer.choices[0].message.content or ""

        asked = [callers.submit(ask, number) for number in range(40)]
        time.sleep(0.2)
        victims = find_service(scaled, pattern)
        assert victims
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        assert all(TEXT.startswith(one.result(60)) for one in asked)
    wait_until(lambda: total_requests(scaled) >= before + 40, 20, "all bills")
    assert total_requests(scaled) == before + 40
    scaled.wait_until_whole()
    wait_until(lambda: find_service(scaled, pattern), 20, "the service")
    assert not set(victims) & set(find_service(scaled, pattern))


def test_a_gateway_that_is_frozen_is_started_again(scaled: ScaledYard) -> None:
    victim = scaled.gateway_pid(2)
    os.kill(victim, signal.SIGSTOP)
    wait_until(lambda: victim not in scaled.yard.processes(), 20, "the end of the frozen one")
    scaled.wait_until_whole()
    assert scaled.gateway_pid(2) != victim


def test_jobs_and_batches_of_all_gateways_are_carried_by_one(scaled: ScaledYard) -> None:
    lines = [
        {
            "custom_id": f"line-{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": MODEL, "messages": ASK, "max_tokens": 5},
        }
        for number in range(20)
    ]
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    before = total_requests(scaled)
    made = []
    for url in scaled.gateways:
        with client_of(scaled, url) as client:
            file = client.files.create(file=("in.jsonl", data), purpose="batch")
            made.append(
                client.batches.create(
                    input_file_id=file.id,
                    endpoint="/v1/chat/completions",
                    completion_window="24h",
                )
            )
    with client_of(scaled) as client:
        for batch in made:
            ended = client.batches.retrieve(batch.id)
            while ended.status != "completed":
                assert ended.status in {"validating", "in_progress", "finalizing"}
                time.sleep(0.1)
                ended = client.batches.retrieve(batch.id)
            assert ended.request_counts is not None
            assert (ended.request_counts.completed, ended.request_counts.failed) == (20, 0)
    assert total_requests(scaled) == before + 20 * GATEWAYS


def find_service(scaled: ScaledYard, pattern: str) -> list[int]:
    """The program itself, below the process that holds its lifeline."""
    held = scaled.pids(rf"lifeline\.py .*({pattern})")
    children = []
    for pid in held:
        tasks = f"/proc/{pid}/task/{pid}/children"
        with open(tasks, encoding="ascii") as file:
            children += [int(child) for child in file.read().split()]
    return children


def total_requests(scaled: ScaledYard) -> int:
    """Answers that the ledger has billed."""
    stores = json.loads((scaled.yard.home / "run" / "stores.json").read_text())
    with psycopg.connect(stores["TOKENYARD_STORAGE__DATABASE_URL"]) as connection:
        row = connection.execute("SELECT count(*) FROM usage_rows").fetchone()
    assert row is not None
    return int(row[0])
