"""Parameters beyond OpenAI's: what may be drawn, what is shown, what is told about the prompt."""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.engine_server import ASK, MODEL, check
from tokenyard.engine.rules.batching import Batch, BatchLimits, Chunk, Sequence
from tokenyard.engine.rules.drawing import DrawRule, ban_next, pack_tokens
from tokenyard.engine.rules.paging import BlockPool
from tokenyard.engine.rules.stopping import StopScanner
from tokenyard.engine.scripted import say
from tokenyard.engine.tokenizer import Tokenizer

Serve = Callable[..., Any]
TEXT = {"model": MODEL, "prompt": "abc"}


async def call(served: Any, body: dict[str, Any], path: str = "completions") -> Any:
    answer = await served.client.call("POST", f"/v1/{path}", json_body=body)
    assert answer.status == 200, answer.body
    return answer


def obeys(tokenizer: Tokenizer, letters: str) -> Callable[[Sequence, DrawRule], int]:
    """A model that would say any of the letters, and says the first that is not banned."""
    choices = tokenizer.encode(letters, specials=False)

    def next_token(text: Sequence, rule: DrawRule) -> int:
        banned = rule.adjustment.banned if rule.adjustment else ()
        key = hashlib.sha256(f"{rule.position}".encode()).digest()[0]
        order = choices[key % len(choices) :] + choices[: key % len(choices)]
        return next(token for token in order if token not in banned)

    return next_token


async def test_bad_words_are_not_said_whole_or_in_parts(tokenizer: Tokenizer, serve: Serve) -> None:
    async with serve(next_token=obeys(tokenizer, "ab ")) as served:
        plain = (await call(served, {**TEXT, "max_tokens": 60})).json()["choices"][0]["text"]
        bad = ["ab", "b a"]
        held = (await call(served, {**TEXT, "max_tokens": 60, "bad_words": bad})).json()
    assert all(word in plain for word in bad)
    assert not any(word in held["choices"][0]["text"] for word in bad)


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple), max_size=4),
    st.lists(st.integers(0, 3), max_size=6),
)
def test_what_is_banned_is_what_would_complete_a_sequence(
    sequences: list[tuple[int, ...]], answer: list[int]
) -> None:
    banned = ban_next(sequences, answer)
    for token in range(4):
        after = [*answer, token]
        completes = any(tuple(after[-len(one) :]) == one for one in sequences)
        assert (token in banned) == completes


async def test_only_allowed_tokens_are_drawn(tokenizer: Tokenizer, serve: Serve) -> None:
    allowed = tokenizer.encode("xyz", specials=False)
    async with serve("abcdef") as served:
        body = {**TEXT, "max_tokens": 4, "allowed_token_ids": allowed}
        answer = (await call(served, body)).json()
        assert set(answer["choices"][0]["text"]) <= set("xyz")
        for wrong, param in (
            ({"allowed_token_ids": [10**6]}, "allowed_token_ids"),
            ({"allowed_token_ids": [2], "min_tokens": 1}, "allowed_token_ids"),
            (
                {"allowed_token_ids": allowed, "structured_outputs": {"regex": "a"}},
                "allowed_token_ids",
            ),
        ):
            refused = await served.client.call(
                "POST", "/v1/completions", json_body={**TEXT, "max_tokens": 4, **wrong}
            )
            assert (refused.status, refused.error["param"]) == (400, param)


def test_allowed_tokens_are_bits_lowest_first() -> None:
    assert pack_tokens([0, 9], 12) == bytes([1, 2])


@pytest.mark.parametrize("stream", [False, True])
async def test_an_echo_stands_before_the_answer(serve: Serve, stream: bool) -> None:
    body = {**TEXT, "echo": True, "logprobs": 1, "max_tokens": 3, "stream": stream}
    async with serve("xyz") as served:
        answer = await call(served, body)
        events = [e for e in answer.data() if isinstance(e, dict)] if stream else [answer.json()]
        parts = [one for event in events for one in event["choices"]]
        assert "".join(one["text"] for one in parts) == "abcxyz"
        told = [one["logprobs"] for one in parts if one["logprobs"]]
        tokens = [token for one in told for token in one["tokens"]]
        assert tokens == list("abcxyz")
        numbers = [number for one in told for number in one["token_logprobs"]]
        assert numbers == [None, 0.0, 0.0, 0.0, 0.0, 0.0]
        offsets = [offset for one in told for offset in one["text_offset"]]
        assert offsets == [0, 1, 2, 3, 4, 5]
        plain = (await call(served, {**TEXT, "echo": True, "n": 2})).json()
        assert [one["text"] for one in plain["choices"]] == ["abcxyz", "abcxyz"]


async def test_the_prompt_s_probabilities_are_told_in_chunks_of_any_size(
    tokenizer: Tokenizer, serve: Serve
) -> None:
    async with serve("x") as served:
        for _ in range(2):
            # The second time the prefix cache has the prompt, and still all of it is told.
            prompt = "abcdefghijklmnopqrstuvwxyz" * 2
            body = {"model": MODEL, "prompt": prompt, "prompt_logprobs": 1}
            told = (await call(served, body)).json()["choices"][0]["prompt_logprobs"]
            assert told[0] is None
            spelled = [one["decoded_token"] for place in told[1:] for one in place.values()]
            assert spelled == list(prompt[1:])
            assert told[1][str(tokenizer.encode("b", specials=False)[0])]["rank"] == 1
        chat = (await call(served, {**ASK, "prompt_logprobs": 0}, "chat/completions")).json()
        check({k: v for k, v in chat.items() if k != "x"}, "CreateChatCompletionResponse")
        assert len(chat["prompt_logprobs"]) == chat["usage"]["prompt_tokens"]


async def test_progress_counts_up_to_the_whole_prompt(serve: Serve) -> None:
    async with serve("x") as served:
        for path, body in (("completions", TEXT), ("chat/completions", ASK)):
            answer = await call(served, {**body, "return_progress": True, "stream": True}, path)
            events = [event for event in answer.data() if isinstance(event, dict)]
            told = [event["prompt_progress"] for event in events if "prompt_progress" in event]
            assert told[-1]["processed"] == told[-1]["total"] > 0
            quiet = await call(served, {**body, "stream": True}, path)
            assert not any("prompt_progress" in e for e in quiet.data() if isinstance(e, dict))


async def test_who_waits_is_told_its_place_in_line(serve: Serve) -> None:
    steps = threading.Semaphore(0)

    def hold(_: Iterable[Chunk]) -> None:
        assert steps.acquire(timeout=10)

    body = {**TEXT, "return_progress": True, "stream": True, "max_tokens": 2}
    async with serve("hello", before_step=hold) as served:
        # Two run at a time here.
        others = [asyncio.create_task(call(served, body)) for _ in range(2)]
        while served.engine.open_count < len(others):
            await asyncio.sleep(0)
        waits = served.client.open("POST", "/v1/completions", json_body=body)
        while served.engine.open_count == len(others):
            await asyncio.sleep(0)
        steps.release(2)
        first = await waits.until(lambda answer: b"prompt_progress" in answer.body)
        assert first.data()[0]["prompt_progress"]["place"] == 1
        steps.release(20)
        for answer in [*await asyncio.gather(*others), await waits.finish()]:
            events = [event for event in answer.data() if isinstance(event, dict)]
            told = [event["prompt_progress"] for event in events if "prompt_progress" in event]
            assert told[-1]["processed"] == told[-1]["total"] > 0
            assert "place" not in told[-1]


async def test_the_newest_tokens_are_kept_of_a_long_prompt(serve: Serve) -> None:
    async with serve("x") as served:
        body = {**TEXT, "prompt": "abcdef", "truncate_prompt_tokens": 2, "echo": True}
        answer = (await call(served, body)).json()
        assert answer["usage"]["prompt_tokens"] == 2
        assert answer["choices"][0]["text"] == "efx"
        long = {**TEXT, "prompt": "a" * 500, "truncate_prompt_tokens": -1, "max_tokens": 1}
        assert (await call(served, long)).json()["usage"]["prompt_tokens"] == 199


async def test_stops_and_control_tokens_are_shown_on_request(
    tokenizer: Tokenizer, serve: Serve
) -> None:
    async with serve("hello world") as served:
        body = {**TEXT, "stop": ["o w"]}
        assert (await call(served, body)).json()["choices"][0]["text"] == "hell"
        shown = {**body, "include_stop_str_in_output": True}
        assert (await call(served, shown)).json()["choices"][0]["text"] == "hello w"
    name = tokenizer.token_text(1)
    script = say([1, *tokenizer.encode("x", specials=False)], 2)
    async with serve(next_token=script) as served:
        assert (await call(served, TEXT)).json()["choices"][0]["text"] == "x"
        shown = {**TEXT, "skip_special_tokens": False}
        assert (await call(served, shown)).json()["choices"][0]["text"] == name + "x"


@given(st.text("ab", max_size=12), st.integers(1, 4))
def test_a_shown_stop_ends_the_text(text: str, size: int) -> None:
    scanner = StopScanner(["ab", "bbb"], shows=True)
    shown = ""
    for start in range(0, len(text), size):
        more, stopped = scanner.push(text[start : start + size])
        shown += more
        if stopped:
            assert shown.endswith(("ab", "bbb"))
            assert text.startswith(shown)
            return
    assert shown + scanner.finish() == text


def test_a_prompt_to_be_reported_on_uses_no_cached_block() -> None:
    batch = Batch(BlockPool(8), BatchLimits(64, 4, 4, 64))
    for number, top in ((1, None), (2, 0)):
        text = Sequence(number, [7] * 9, prompt_top=top)
        batch.add(text)
        plan = batch.plan_step()
        batch.settle(plan, {number: 5})
        assert text.cached_count == 0
        batch.end(text)
    batch.pool.check_integrity()
