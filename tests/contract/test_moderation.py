"""Moderation: texts go to a server of the operator's choice, and what it flags is not generated.

The server is a script that speaks OpenAI's Moderations API and flags the word "bad".
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from support.yards import MODEL, FakeYard, open_fake_yard
from tokenyard.gateway.server import bind, serve
from tokenyard.runtime.moderation_settings import ModerationSettings
from tokenyard.runtime.settings import GatewaySettings, UpstreamSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Log
from tokenyard.upstreams.http import HttpUpstream
from tokenyard.upstreams.moderation import Moderation

CHAT = "/v1/chat/completions"


@dataclass
class Server:
    """What it was asked, and how it fails."""

    status: int = 200
    silent: bool = False
    asked: list[Any] = field(default_factory=list)

    def app(self) -> Starlette:
        async def moderate(request: Request) -> Response:
            body = await request.json()
            self.asked.append(body)
            if self.silent:
                await asyncio.sleep(60)
            if self.status != 200:
                return JSONResponse({"error": {"message": "broke"}}, self.status)
            told = body["input"]
            texts = [told] if isinstance(told, str) else told
            results = [
                {
                    "flagged": "bad" in str(text),
                    "categories": {"violence": "bad" in str(text), "hate": False},
                    "category_scores": {"violence": 0.9, "hate": 0.0},
                    "category_applied_input_types": {"violence": ["text"]},
                }
                for text in texts
            ]
            return JSONResponse({"id": "modr-1", "model": body["model"], "results": results})

        return Starlette(routes=[Route("/v1/moderations", moderate, methods=["POST"])])


@asynccontextmanager
async def moderated(server: Server, **told: Any) -> AsyncIterator[FakeYard]:
    """A gateway that looks at what is asked."""
    settings = GatewaySettings(port=0)
    async with (
        TaskSupervisor(lambda *_: None) as tasks,
        serve(server.app(), bind(settings), settings, tasks) as serving,
        open_fake_yard() as yard,
    ):
        asked = msgspec.convert({"check": "input", "seconds": 0.5, **told}, ModerationSettings)
        http = HttpUpstream(serving.url, UpstreamSettings(), api_key="k")
        moderation = Moderation(http, asked, metrics=yard.metrics, log=Log(yard.log, yard.clock))
        yard.pool.moderation = moderation
        try:
            yield yard
        finally:
            await moderation.close()


def outcomes(yard: FakeYard) -> dict[str, float]:
    names = ("passed", "flagged", "unchecked")
    return {name: yard.metrics.moderations.labels(name)._value.get() for name in names}


async def chat(yard: FakeYard, *said: str, **more: Any) -> Any:
    messages = [{"role": "system", "content": "a bad system is the operator's"}]
    messages += [{"role": "user", "content": text} for text in said]
    return await yard.client.call(
        "POST", CHAT, json_body={"model": MODEL, "messages": messages, **more}
    )


async def test_what_is_flagged_is_not_generated_and_not_billed() -> None:
    server = Server()
    async with moderated(server) as yard:
        assert (await chat(yard, "good")).status == 200
        for more in ({}, {"stream": True}):
            answer = await chat(yard, "good", "a bad one", **more)
            assert (answer.status, answer.error["code"]) == (400, "content_flagged")
            assert answer.error["param"] == "messages"
            assert "violence" in answer.error["message"]
            assert "hate" not in answer.error["message"]
        assert len(yard.upstream.calls) == len(yard.store.state.books.usage) == 1
        assert yard.store.state.books.open == {}
        assert outcomes(yard) == {"passed": 1, "flagged": 2, "unchecked": 0}
    assert server.asked[0] == {"model": "omni-moderation-latest", "input": ["good"]}


async def test_older_completions_and_responses_are_looked_at_too() -> None:
    async with moderated(Server()) as yard:
        text = {"model": MODEL, "prompt": "a bad one"}
        answer = await yard.client.call("POST", "/v1/completions", json_body=text)
        assert (answer.status, answer.error["code"]) == (400, "content_flagged")
        ids = {"model": MODEL, "prompt": [1, 2]}
        answer = await yard.client.call("POST", "/v1/completions", json_body=ids)
        assert (answer.status, answer.error["param"]) == (400, "prompt")
        asked = {"model": MODEL, "input": "a bad one"}
        body = (await yard.client.call("POST", "/v1/responses", json_body=asked)).json()
        assert (body["status"], body["error"]["reason"]) == ("failed", "content_flagged")
        assert not yard.upstream.calls


async def test_only_the_newest_turns_are_looked_at() -> None:
    server = Server()
    async with moderated(server, turns_max=2) as yard:
        assert (await chat(yard, "bad once", "good", "better")).status == 200
    assert server.asked[0]["input"] == ["good", "better"]


@pytest.mark.parametrize("fault", ["broken", "silent"])
async def test_while_it_is_away_the_setting_decides(fault: str) -> None:
    for rule, status in (("open", 200), ("closed", 503)):
        server = Server(status=500 if fault == "broken" else 200, silent=fault == "silent")
        async with moderated(server, away=rule) as yard:
            answer = await chat(yard, "good")
            assert answer.status == status
            if rule == "closed":
                assert answer.error["code"] == "moderation_unavailable"
                assert "retry-after" in answer.headers
            assert outcomes(yard)["unchecked"] == 1
            assert "moderation.away" in yard.log.getvalue()


async def test_texts_go_through_as_they_are() -> None:
    server = Server()
    async with moderated(server, check="off") as yard:
        asked = {"input": ["good", {"type": "text", "text": "bad"}], "model": "m"}
        answer = await yard.client.call("POST", "/v1/moderations", json_body=asked)
        assert server.asked == [asked]
        results = answer.json()["results"]
        assert [result["flagged"] for result in results] == [False, True]
        # Fields that we do not know are kept.
        assert results[1]["category_applied_input_types"] == {"violence": ["text"]}
        assert "x-ratelimit-remaining-requests" in answer.headers
        image = {"type": "image_url", "image_url": {"url": "https://example.com"}}
        refused = await yard.client.call("POST", "/v1/moderations", json_body={"input": [image]})
        assert refused.status == 400
        # Nothing is looked at before a generation where the setting says so.
        assert (await chat(yard, "a bad one")).status == 200
        server.status = 500
        broken = await yard.client.call("POST", "/v1/moderations", json_body=asked)
        assert (broken.status, broken.error["code"]) == (502, "upstream_failed")


async def test_without_a_server_it_is_refused_by_name() -> None:
    async with open_fake_yard() as yard:
        answer = await yard.client.call("POST", "/v1/moderations", json_body={"input": "x"})
    assert (answer.status, answer.error["code"]) == (404, "moderation_not_configured")
