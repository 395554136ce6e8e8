"""The routes over a scripted model: OpenAI's shapes, named refusals, and callers that go away."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.engine_server import ASK, MODEL, check
from tokenyard.engine.rules.batching import Chunk
from tokenyard.engine.tokenizer import Tokenizer


async def test_a_whole_chat_answer_is_openai_s(serve: Callable[..., Any]) -> None:
    async with serve() as served:
        answer = await served.client.call("POST", "/v1/chat/completions", json_body=ASK)
    assert answer.status == 200
    body = answer.json()
    check(body, "CreateChatCompletionResponse")
    assert body["choices"][0]["message"]["content"] == "hello world"
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["completion_tokens"] == 3
    assert body["id"].startswith("chatcmpl_")
    assert set(body["timings"]) == {"queue_ms", "first_token_ms", "total_ms"}


@pytest.mark.parametrize("with_usage", [True, False])
async def test_a_streamed_chat_answer_is_openai_s(
    serve: Callable[..., Any], with_usage: bool
) -> None:
    ask: dict[str, Any] = {**ASK, "stream": True, "max_tokens": 3}
    if with_usage:
        ask["stream_options"] = {"include_usage": True}
    async with serve("abcdef") as served:
        answer = await served.client.call("POST", "/v1/chat/completions", json_body=ask)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.body.endswith(b"data: [DONE]\n\n")
    events = answer.data()
    for event in events:
        check(event, "CreateChatCompletionStreamResponse")
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    text = "".join(e["choices"][0]["delta"].get("content", "") for e in events if e["choices"])
    assert text == "abc"
    assert [e["choices"][0]["finish_reason"] for e in events if e["choices"]][-1] == "length"
    assert len({event["id"] for event in events}) == 1
    assert "timings" in events[-1]
    if with_usage:
        assert events[-1]["choices"] == []
        assert events[-1]["usage"]["completion_tokens"] == 3
        assert all(event["usage"] is None for event in events[:-1])
    else:
        assert all("usage" not in event for event in events)


async def test_completions_take_text_and_token_ids(serve: Callable[..., Any]) -> None:
    async with serve() as served:
        for prompt in ("hello", [70, 71]):
            ask = {"model": MODEL, "prompt": prompt, "max_tokens": 2}
            answer = await served.client.call("POST", "/v1/completions", json_body=ask)
            body = answer.json()
            check(body, "CreateCompletionResponse")
            assert body["choices"][0]["text"] == "hello world"
            assert body["choices"][0]["finish_reason"] == "length"


async def test_streamed_completions_end_with_done(serve: Callable[..., Any]) -> None:
    ask = {
        "model": MODEL,
        "prompt": "x",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    async with serve() as served:
        answer = await served.client.call("POST", "/v1/completions", json_body=ask)
    assert answer.body.endswith(b"data: [DONE]\n\n")
    events = answer.data()
    assert "".join(e["choices"][0]["text"] for e in events if e["choices"]) == "hello world"
    assert events[-1]["usage"]["prompt_tokens"] == 1
    for event in events:
        # The description of Completions does not know that its stream has nulls; OpenAI's has.
        whole = {key: value for key, value in event.items() if value is not None}
        for choice in whole["choices"]:
            choice["finish_reason"] = choice["finish_reason"] or "stop"
        check(whole, "CreateCompletionResponse")


async def test_models_and_health(serve: Callable[..., Any]) -> None:
    async with serve() as served:
        models = (await served.client.call("GET", "/v1/models")).json()
        check(models, "ListModelsResponse")
        assert [one["id"] for one in models["data"]] == [MODEL]
        assert models["data"][0]["context_window"] == 200
        check((await served.client.call("GET", f"/v1/models/{MODEL}")).json(), "Model")
        assert (await served.client.call("GET", "/v1/models/x")).status == 404
        assert (await served.client.call("GET", "/health")).json() == {"status": "ok"}
        served.server.stopping = True
        assert (await served.client.call("GET", "/health")).status == 503


async def test_before_the_model_is_there_it_says_so(serve: Callable[..., Any]) -> None:
    async with serve() as served:
        served.server.loaded = None
        health = await served.client.call("GET", "/health")
        assert (health.status, health.json()) == (503, {"status": "loading"})
        answer = await served.client.call("POST", "/v1/chat/completions", json_body=ASK)
        assert (answer.status, answer.error["code"]) == (503, "model_loading")
        assert answer.headers["retry-after"] == "1"
        assert (await served.client.call("GET", "/v1/models")).status == 200


@pytest.mark.parametrize(
    ("path", "change", "status", "code", "param"),
    [
        ("chat/completions", {"top_logprobs": 3}, 400, "invalid_value", "top_logprobs"),
        ("chat/completions", {"n": 3}, 400, "invalid_value", "n"),
        ("completions", {"prompt": "x", "best_of": 2}, 400, "unsupported_parameter", "best_of"),
        ("chat/completions", {"frequency_penalty": 3}, 400, "invalid_value", "frequency_penalty"),
        ("chat/completions", {"logit_bias": {"x": 1}}, 400, "invalid_value", "logit_bias"),
        ("chat/completions", {"logit_bias": {"99999": 1}}, 400, "invalid_value", "logit_bias"),
        ("chat/completions", {"logit_bias": {"1": 200}}, 400, "invalid_value", "logit_bias[]"),
        (
            "chat/completions",
            {"min_tokens": 5, "max_tokens": 4},
            400,
            "invalid_value",
            "min_tokens",
        ),
        ("chat/completions", {"model": "gpt-9"}, 404, "model_not_found", "model"),
        ("chat/completions", {"temperature": 3}, 400, "invalid_value", "temperature"),
        ("chat/completions", {"messages": []}, 400, "invalid_value", "messages"),
        ("chat/completions", {"nonsense": 1}, 400, "unknown_parameter", "nonsense"),
        ("chat/completions", {"stream_options": {}}, 400, "invalid_value", "stream_options"),
        ("chat/completions", {"max_tokens": 190}, 400, "context_length_exceeded", "max_tokens"),
        (
            "chat/completions",
            {"max_completion_tokens": 190},
            400,
            "context_length_exceeded",
            "max_completion_tokens",
        ),
        ("completions", {"prompt": [10**6]}, 400, "invalid_value", "prompt"),
        ("completions", {"prompt": ""}, 400, "invalid_value", "prompt"),
        ("completions", {"prompt": "x", "suffix": "y"}, 400, "unsupported_parameter", "suffix"),
    ],
)
async def test_refusals_name_the_field(
    serve: Callable[..., Any],
    path: str,
    change: dict[str, Any],
    status: int,
    code: str,
    param: str,
) -> None:
    ask = {**(ASK if path.startswith("chat") else {"model": MODEL}), **change}
    async with serve() as served:
        answer = await served.client.call("POST", f"/v1/{path}", json_body=ask)
    assert (answer.status, answer.error["code"], answer.error["param"]) == (status, code, param)
    check(answer.json(), "ErrorResponse")


async def test_values_that_ask_for_nothing_are_accepted(serve: Callable[..., Any]) -> None:
    nothing = {
        "n": 1,
        "logprobs": False,
        "frequency_penalty": 0,
        "presence_penalty": 0.0,
        "logit_bias": {},
        "tools": [],
        "response_format": {"type": "text"},
        "stop": [],
        "user": "someone",
    }
    async with serve() as served:
        answer = await served.client.call(
            "POST", "/v1/chat/completions", json_body={**ASK, **nothing}
        )
    assert answer.status == 200


async def test_bad_bodies_paths_and_methods(serve: Callable[..., Any]) -> None:
    async with serve() as served:
        call = served.client.call
        assert (await call("POST", "/v1/chat/completions", body=b"{")).error[
            "code"
        ] == "invalid_json"
        huge = await call("POST", "/v1/chat/completions", body=b" " * 30_000)
        assert (huge.status, huge.error["code"]) == (413, "body_too_large")
        assert (await call("GET", "/v1/chat/completions")).error["code"] == "method_not_allowed"
        assert (await call("GET", "/v2")).error["code"] == "not_found"


async def test_a_model_without_template_refuses_chats(serve: Callable[..., Any]) -> None:
    async with serve(template=None) as served:
        answer = await served.client.call("POST", "/v1/chat/completions", json_body=ASK)
        assert (answer.status, answer.error["code"]) == (400, "template_failed")


async def test_tokenize_counts_chats_and_texts(
    serve: Callable[..., Any], tokenizer: Tokenizer
) -> None:
    async with serve() as served:
        text = (await served.client.call("POST", "/tokenize", json_body={"prompt": "hello"})).json()
        assert text == {
            "count": 1,
            "tokens": tokenizer.encode("hello", specials=False),
            "context_window": 200,
        }
        messages = {"messages": ASK["messages"]}
        chat = (await served.client.call("POST", "/tokenize", json_body=messages)).json()
        answer = await served.client.call("POST", "/v1/chat/completions", json_body=ASK)
        assert answer.json()["usage"]["prompt_tokens"] == chat["count"]
        assert (await served.client.call("POST", "/tokenize", json_body={})).status == 400


async def test_a_long_prompt_is_tokenised_beside_the_event_loop(serve: Callable[..., Any]) -> None:
    async with serve() as served:
        ask = {"prompt": "hello " * 3000}
        assert (await served.client.call("POST", "/tokenize", json_body=ask)).json()["count"] > 3000


@pytest.mark.parametrize("streams", [True, False])
async def test_a_caller_that_goes_away_ends_the_generation(
    serve: Callable[..., Any], streams: bool
) -> None:
    seen = asyncio.Event()
    loop = asyncio.get_running_loop()

    def note(chunks: Sequence[Chunk]) -> None:
        loop.call_soon_threadsafe(seen.set)

    async with serve(next_token=lambda text, rule: 70, before_step=note) as served:
        call = served.client.open(
            "POST",
            "/v1/chat/completions",
            json_body={**ASK, "stream": streams, "ignore_eos": True},
        )
        await seen.wait()
        await call.leave()
        await served.engine.drain()
        value = served.server.metrics.registry.get_sample_value(
            "tokenyard_engine_request_success_total", {"finished_reason": "abort"}
        )
        # A fast model may have filled its context before the caller was gone.
        assert value == 1 or call.answer.body


async def test_a_failure_before_the_first_token_has_a_status(serve: Callable[..., Any]) -> None:
    def fail(chunks: Sequence[Chunk]) -> None:
        raise RuntimeError("no")

    async with serve(before_step=fail) as served:
        for streams in (True, False):
            answer = await served.client.call(
                "POST", "/v1/chat/completions", json_body={**ASK, "stream": streams}
            )
            assert (answer.status, answer.error["code"]) == (500, "generation_failed")


async def test_a_failure_in_the_middle_is_an_error_event(serve: Callable[..., Any]) -> None:
    def fail_later(chunks: Sequence[Chunk]) -> None:
        if chunks[0].start > 20:
            raise RuntimeError("no")

    async with serve(next_token=lambda text, rule: 70, before_step=fail_later) as served:
        ask = {**ASK, "stream": True}
        answer = await served.client.call("POST", "/v1/chat/completions", json_body=ask)
    assert answer.status == 200
    assert answer.data()[-1]["error"]["code"] == "generation_failed"
    assert b"[DONE]" not in answer.body


async def test_metrics_have_the_names_that_dashboards_know(serve: Callable[..., Any]) -> None:
    async with serve() as served:
        await served.client.call("POST", "/v1/chat/completions", json_body=ASK)
        text = (await served.client.call("GET", "/metrics")).body.decode()
    for name in ("num_requests_running", "kv_cache_usage_perc", "generation_tokens_total"):
        assert f"tokenyard_engine_{name}" in text
        assert f'vllm:{name}{{model_name="{MODEL}",engine="0"}} ' in text
    samples = {
        (sample.name, sample.labels.get("finished_reason")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("model_name") == MODEL
    }
    assert samples["vllm:request_success_total", "stop"] == 1
    assert samples["vllm:prefix_cache_queries_total", None] == 20
    assert samples["vllm:prefix_cache_hits_total", None] == 0
    assert samples["vllm:time_to_first_token_seconds_count", None] == 1
    assert samples["vllm:request_queue_time_seconds_count", None] == 1
    assert samples["vllm:num_preemptions_total", None] == 0


@pytest.mark.parametrize("streams", [True, False])
async def test_a_call_that_is_cut_short_ends_with_its_counts(
    serve: Callable[..., Any], streams: bool
) -> None:
    third_step, go_on = asyncio.Event(), threading.Event()
    loop, steps = asyncio.get_running_loop(), itertools.count(1)

    def hold_at_third(chunks: Sequence[Chunk]) -> None:
        if next(steps) == 3:
            loop.call_soon_threadsafe(third_step.set)
            go_on.wait(timeout=20)

    async with serve(next_token=lambda text, rule: 70, before_step=hold_at_third) as served:
        options = {"stream_options": {"include_usage": True}} if streams else {}
        call = served.client.open(
            "POST",
            "/v1/chat/completions",
            json_body={**ASK, "stream": streams, "ignore_eos": True, **options},
            headers={"x-request-id": "req_7"},
        )
        await third_step.wait()
        for asked, known in (("req_7", True), ("req_8", False)):
            told = await served.client.call("POST", "/v1/abort", json_body={"request_id": asked})
            assert told.json() == {"aborted": known}
        go_on.set()
        answer = await call.finish()
        last = answer.data()[-1] if streams else answer.json()
        ends = answer.data()[-2] if streams else last
        assert ends["choices"][0]["finish_reason"] == "abort"
        assert last["usage"]["completion_tokens"] == 3
        await served.engine.drain()
        assert served.server.calls == {}


@pytest.mark.parametrize(
    ("path", "ask"), [("/v1/chat/completions", ASK), ("/v1/completions", {"prompt": "hello"})]
)
@pytest.mark.parametrize(("told", "seen"), [({"priority": 7}, 7), ({}, 0)])
async def test_the_priority_of_a_request_is_that_of_its_sequence(
    serve: Callable[..., Any], path: str, ask: dict[str, Any], told: dict[str, int], seen: int
) -> None:
    priorities: set[int] = set()

    def note(chunks: Sequence[Chunk]) -> None:
        priorities.update(chunk.sequence.priority for chunk in chunks)

    async with serve(before_step=note) as served:
        answer = await served.client.call("POST", path, json_body={"model": MODEL, **ask, **told})
    assert answer.status == 200
    assert priorities == {seen}
