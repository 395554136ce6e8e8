"""The Prompts API through the whole gateway, and a response that is asked with a stored prompt."""

import json
from typing import Any

import pytest

from support.yards import MODEL, FakeYard

PATH = "/api/prompts"
CONTENT = {
    "instructions": "You are {{who}}.",
    "messages": [{"role": "user", "content": "In {{language}}, please."}],
    "variables": [{"name": "language", "default": "German"}],
    "model": MODEL,
    "temperature": 0.25,
    "max_output_tokens": 9,
}


async def call(yard: FakeYard, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    answer = await yard.client.call(method, path, json_body=body)
    assert answer.status == status, answer.body
    return answer.json()


async def new_prompt(yard: FakeYard, **more: Any) -> str:
    made = await call(yard, "POST", PATH, {"name": "Guide", "content": {**CONTENT, **more}})
    return str(made["id"])


async def ask(yard: FakeYard, prompt: Any, status: int = 200, **more: Any) -> Any:
    return await call(yard, "POST", "/v1/responses", {"prompt": prompt, **more}, status)


def sent(yard: FakeYard) -> Any:
    return json.loads(yard.upstream.calls[-1].body)


async def test_a_response_is_asked_with_a_prompt(yard: FakeYard) -> None:
    prompt = await new_prompt(yard)
    made = await ask(yard, {"id": prompt, "variables": {"who": "a guide"}}, input="Hi")
    assert sent(yard)["messages"] == [
        {"role": "system", "content": "You are a guide."},
        {"role": "user", "content": "In German, please."},
        {"role": "user", "content": "Hi"},
    ]
    assert (sent(yard)["temperature"], sent(yard)["max_completion_tokens"]) == (0.25, 9)
    variables = {"who": "a guide", "language": "German"}
    assert made["prompt"] == {"id": prompt, "version": "1", "variables": variables}
    # The prompt's own turns are not repeated as history.
    await ask(
        yard, {"id": prompt, "variables": {"who": "a guide"}},
        input="More", previous_response_id=made["id"],
    )  # fmt: skip
    assert [turn["content"] for turn in sent(yard)["messages"]] == [
        "You are a guide.", "In German, please.", "Hi", "Hello, world.", "More",
    ]  # fmt: skip
    version = await call(yard, "GET", f"{PATH}/{prompt}/versions/1")
    assert version["uses"] == 2


async def test_the_request_wins_over_the_prompt(yard: FakeYard) -> None:
    prompt = await new_prompt(yard)
    await ask(
        yard, {"id": prompt, "variables": {"who": "x"}},
        input="Hi", instructions="Be brief.", temperature=0, max_output_tokens=3,
    )  # fmt: skip
    told = sent(yard)
    assert told["messages"][0]["content"] == "Be brief."
    assert (told["temperature"], told["max_completion_tokens"]) == (0, 3)


async def test_a_prompt_without_input_is_a_question(yard: FakeYard) -> None:
    await ask(yard, {"id": await new_prompt(yard), "variables": {"who": "x"}})
    assert len(sent(yard)["messages"]) == 2


@pytest.mark.parametrize(
    ("prompt", "status", "param"),
    [
        ({}, 400, "prompt.variables.who"),
        ({"variables": {"who": "x", "whom": "y"}}, 400, "prompt.variables.whom"),
        ({"variables": {"who": ["x"]}}, 400, "prompt.variables"),
        ({"version": "9", "variables": {"who": "x"}}, 404, "version"),
        ({"version": "nobody", "variables": {"who": "x"}}, 404, "version"),
        ({"id": "pmpt_none"}, 404, "prompt.id"),
    ],
)
async def test_what_cannot_be_asked(
    yard: FakeYard, prompt: dict[str, Any], status: int, param: str
) -> None:
    refused = await ask(yard, {"id": await new_prompt(yard), **prompt}, status, input="Hi")
    assert refused["error"]["param"].startswith(param)
    assert not yard.upstream.calls


async def test_versions_labels_and_the_way_back(yard: FakeYard) -> None:
    prompt = await new_prompt(yard, instructions="One.")
    two = {"content": {**CONTENT, "instructions": "Two."}, "note": "Clearer"}
    assert (await call(yard, "POST", f"{PATH}/{prompt}/versions", two))["version"] == 2

    async def told(**version: str) -> str:
        await ask(yard, {"id": prompt, **version}, input="Hi")
        return str(sent(yard)["messages"][0]["content"])

    assert await told() == "Two."
    labelled = await call(yard, "PUT", f"{PATH}/{prompt}/labels/production", {"version": 1})
    assert labelled["labels"] == {"production": 1}
    assert await told() == "One."
    assert await told(version="2") == "Two."
    await call(yard, "PUT", f"{PATH}/{prompt}/labels/staging", {"version": 2})
    assert await told(version="staging") == "Two."
    restored = await call(yard, "POST", f"{PATH}/{prompt}/versions", {"from_version": 1})
    assert (restored["version"], restored["content"]["instructions"]) == (3, "One.")
    found = await call(yard, "GET", f"{PATH}/{prompt}/versions?limit=2")
    assert [one["version"] for one in found["data"]] == [3, 2]
    assert found["has_more"]
    lines = (await call(yard, "GET", f"{PATH}/{prompt}/diff?from=production&to=2"))["lines"]
    assert [line for line in lines if line["op"] != "same"] == [
        {"op": "removed", "text": "One."}, {"op": "added", "text": "Two."},
    ]  # fmt: skip
    left = await call(yard, "DELETE", f"{PATH}/{prompt}/labels/production")
    assert left["labels"] == {"staging": 2}
    refused = await call(yard, "PUT", f"{PATH}/{prompt}/labels/9", {"version": 1}, 400)
    assert refused["error"]["param"] == "label"
    both = {"content": CONTENT, "from_version": 1}
    assert (await call(yard, "POST", f"{PATH}/{prompt}/versions", both, 400))["error"]
    assert (await call(yard, "DELETE", f"{PATH}/{prompt}"))["deleted"]
    await call(yard, "GET", f"{PATH}/{prompt}", None, 404)


async def test_prompts_of_openai_are_taken_over(yard: FakeYard) -> None:
    foreign = {
        "object": "prompt",
        "id": "pmpt_abc123",
        "version": "7",
        "instructions": "You are {{who}}.",
        "messages": [{"role": "user", "content": [{"type": "input_text", "text": "Hi {{who}}"}]}],
        "variables": {"who": {}},
        "model": MODEL,
    }
    made = await call(yard, "POST", f"{PATH}/import", {"prompts": [foreign]})
    assert made["data"][0]["id"] == "pmpt_abc123"
    await ask(yard, {"id": "pmpt_abc123", "variables": {"who": "Ada"}})
    assert sent(yard)["messages"][1]["content"] == "Hi Ada"
    again = await call(yard, "POST", f"{PATH}/import", {"prompts": [foreign]})
    assert again["data"][0]["newest_version"] == 2
    for wrong in (
        {**foreign, "id": "pmpt_new", "tools": [{"type": "web_search"}]},
        {**foreign, "id": "pmpt_new", "messages": [
            {"role": "user", "content": [{"type": "input_image"}]}]},
        {**foreign, "id": "../x"},
    ):  # fmt: skip
        await call(yard, "POST", f"{PATH}/import", {"prompts": [wrong]}, 400)
    await call(yard, "GET", f"{PATH}/pmpt_new", None, 404)
