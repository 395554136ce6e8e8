"""Answers on the wire: plain ones leave in one write, and are otherwise as uvicorn writes them."""

import asyncio
from collections.abc import Mapping

import pytest
from starlette.types import Receive, Scope, Send

from tokenyard.gateway.operation import BytesAnswer
from tokenyard.gateway.server import bind, serve
from tokenyard.runtime.settings import GatewaySettings
from tokenyard.runtime.tasks import TaskSupervisor

SETTINGS = GatewaySettings(port=0)
BODY = b'{"a":1}'


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    """What the path names; the client that the request comes from is told in a header."""
    more: Mapping[str, str] = {
        "/plain": {"x-client": scope["client"][0]},
        "/forged": {"x-a": "1\r\nx-b: 2"},
        "/closing": {"connection": "close"},
        "/wrong": {"content-length": "3"},
    }[scope["path"]]
    if scope["path"] == "/wrong":
        await send({"type": "http.response.start", "status": 200, "headers": [
            (b"content-length", b"3"),
        ]})  # fmt: skip
        await send({"type": "http.response.body", "body": BODY})
        return
    await BytesAnswer(BODY, more)(scope, receive, send)


async def _ask(*requests: str) -> list[str]:
    """What comes back on one connection, until it is closed."""
    async with (
        TaskSupervisor(lambda name, error: None) as tasks,
        serve(_answer, bind(SETTINGS), SETTINGS, tasks) as serving,
    ):
        port = int(serving.url.rsplit(":", 1)[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write("".join(f"{one}\r\nhost: x\r\n\r\n" for one in requests).encode())
        told = (await asyncio.wait_for(reader.read(), 20)).decode()
        writer.close()
    return [f"HTTP/1.1 {part}" for part in told.split("HTTP/1.1 ")[1:]]


LAST = "GET /plain HTTP/1.1\r\nconnection: close"


async def test_plain_answers_follow_each_other_on_one_connection() -> None:
    first, second, last = await _ask("GET /plain HTTP/1.1", "POST /plain HTTP/1.1", LAST)
    assert first.startswith("HTTP/1.1 200 OK\r\ndate: ")
    assert first.endswith(f"\r\nx-client: 127.0.0.1\r\n\r\n{BODY.decode()}")
    assert "content-length: 7\r\ncontent-type: application/json\r\n" in first
    assert [part.partition("\r\ndate")[0] for part in (second, last)] == ["HTTP/1.1 200 OK"] * 2
    assert "connection: close" in last
    assert "connection: close" not in second


async def test_a_head_has_no_body() -> None:
    first, last = await _ask("HEAD /plain HTTP/1.1", LAST)
    assert first.endswith("\r\n\r\n")
    assert "content-length: 7" in first
    assert last.endswith(BODY.decode())


@pytest.mark.parametrize("path", ["/forged", "/wrong"])
async def test_what_would_be_no_answer_is_refused(path: str) -> None:
    told = "".join(await _ask(f"GET {path} HTTP/1.1"))
    assert "x-b: 2" not in told
    assert BODY.decode() not in told


async def test_an_answer_may_end_the_connection() -> None:
    (only,) = await _ask("GET /closing HTTP/1.1")
    assert "connection: close" in only


async def test_a_proxy_tells_who_asks() -> None:
    told = await _ask(
        "GET /plain HTTP/1.1\r\nx-forwarded-for: 10.1.2.3", "GET /plain HTTP/1.1", LAST
    )
    assert ["x-client: 10.1.2.3" in one for one in told] == [True, False, False]
