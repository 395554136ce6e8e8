"""Functions that a response calls, and thoughts: as events, items and turns of what comes next."""

import json
from typing import Any

import pytest

from support.asgi import Answer
from support.spec import validator
from support.yards import MODEL, FakeYard
from tokenyard.protocol.chat_completions import Delta
from tokenyard.protocol.tools import FunctionCallDelta, ToolCallDelta
from tokenyard.upstreams.scripted import Script
from tokenyard.vocabulary.errors import UpstreamFailed

PATH = "/v1/responses"
TOOL: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}
OTHER: dict[str, Any] = {"type": "function", "name": "clock"}
ASK: dict[str, Any] = {"model": MODEL, "input": "Will it rain?", "tools": [TOOL, OTHER]}
STREAM = {**ASK, "stream": True}


def begins(name: str, index: int = 0) -> Delta:
    told = FunctionCallDelta(name=name, arguments="")
    return Delta(
        tool_calls=[ToolCallDelta(index=index, id=f"call_{index}", type="function", function=told)]
    )


def argues(text: str, index: int = 0) -> Delta:
    return Delta(
        tool_calls=[ToolCallDelta(index=index, function=FunctionCallDelta(arguments=text))]
    )


# A thought, words, and two calls.
PIECES: list[str | Delta] = [
    Delta(reasoning_content="They ask "),
    Delta(reasoning_content="about rain."),
    "Let me look.",
    begins("weather"),
    argues('{"city":'),
    argues('"Köln"}'),
    begins("clock", 1),
    argues("{}", 1),
]
TYPES = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.reasoning_text.delta",
    "response.reasoning_text.delta",
    "response.reasoning_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.output_item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
    "response.output_item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
    "response.completed",
]


def shown(answer: Answer) -> list[dict[str, Any]]:
    """The output as a client puts it together from the events alone."""
    output: list[dict[str, Any]] = []
    for event in answer.data():
        kind = event["type"]
        if kind == "response.output_item.added":
            assert event["output_index"] == len(output)
            output.append({"item": event["item"], "text": ""})
        elif kind.endswith(".delta"):
            assert output[event["output_index"]]["item"]["id"] == event["item_id"]
            output[event["output_index"]]["text"] += event["delta"]
        elif kind == "response.reset":
            output = [{"item": item, "text": said(item)} for item in event["output"]]
    return output


def said(item: dict[str, Any]) -> str:
    if item["type"] == "function_call":
        return str(item["arguments"])
    return "".join(part["text"] for part in item["content"])


def told(answer: Answer) -> list[tuple[str, str, str]]:
    return [(one["item"]["type"], one["item"]["id"], one["text"]) for one in shown(answer)]


def kept(response: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(item["type"], item["id"], said(item)) for item in response["output"]]


async def test_thoughts_words_and_calls_are_items_of_their_own(yard: FakeYard) -> None:
    yard.upstream.script = Script(pieces=PIECES)
    answer = await yard.client.call("POST", PATH, json_body=STREAM)
    assert [event["type"] for event in answer.data()] == TYPES
    for event in answer.data():
        validator("response.stream").validate(event)
    response = answer.data()[-1]["response"]
    assert told(answer) == kept(response)
    assert [item["type"] for item in response["output"]] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
    ]
    weather = response["output"][2]
    assert (weather["name"], weather["call_id"], weather["status"]) == (
        "weather",
        "call_0",
        "completed",
    )
    assert json.loads(weather["arguments"]) == {"city": "Köln"}
    assert response["usage"]["output_tokens_details"] == {"reasoning_tokens": 2}
    assert response["tools"] == [TOOL, {**OTHER, "parameters": None, "strict": None}]
    assert (response["tool_choice"], response["parallel_tool_calls"]) == ("auto", True)
    again = await yard.client.call("GET", f"{PATH}/{response['id']}")
    assert again.json()["output"] == response["output"]
    validator("response").validate(again.json())
    sent = json.loads(yard.upstream.calls[0].body)
    assert sent["tools"][0]["function"] == {k: v for k, v in TOOL.items() if k != "type"}
    assert "tool_choice" not in sent


@pytest.mark.parametrize("place", range(len(PIECES)))
async def test_a_call_goes_on_wherever_its_server_dies(yard: FakeYard, place: int) -> None:
    """On a server that continues from the tokens: no event twice, none missing."""
    yard.upstream.script = Script(
        pieces=PIECES, broken=UpstreamFailed("It died."), break_after=place
    )
    call = yard.client.open("POST", PATH, json_body=STREAM)

    def heal(answer: Answer) -> bool:
        if len(yard.upstream.calls) > 0:
            yard.upstream.script = Script(pieces=PIECES)
        return answer.finished

    whole = await call.until(heal)
    assert [event["type"] for event in whole.data()] == TYPES
    assert told(whole) == kept(whole.data()[-1]["response"])


@pytest.mark.parametrize("place", range(1, len(PIECES)))
async def test_a_process_that_takes_over_goes_on_inside_a_call(yard: FakeYard, place: int) -> None:
    yard.upstream.script = Script(pieces=PIECES, hold_after=place)
    call = yard.client.open("POST", PATH, json_body=STREAM)
    await yard.clock.settle()
    await yard.responses.drain(0.01)
    yard.upstream.script = Script(pieces=PIECES)
    assert await yard.takeover.adopt_all() == 1
    await yard.clock.advance(1)
    whole = await call.finish()
    assert [event["type"] for event in whole.data()] == TYPES
    assert [event["sequence_number"] for event in whole.data()] == list(range(len(TYPES)))
    response = whole.data()[-1]["response"]
    assert told(whole) == kept(response)
    assert json.loads(response["output"][2]["arguments"]) == {"city": "Köln"}
    assert {event.id.split(".")[1] for event in whole.events() if event.id} == {"1", "2"}


@pytest.mark.parametrize("differs", [False, True])
async def test_a_repeated_call_is_not_shown_twice_and_another_one_is_told(
    yard: FakeYard, differs: bool
) -> None:
    yard.upstream.continues = False
    yard.upstream.script = Script(pieces=PIECES, broken=UpstreamFailed("It died."), break_after=5)
    call = yard.client.open("POST", PATH, json_body=STREAM)
    again = [*PIECES[:3], begins("clock"), *PIECES[4:6]] if differs else PIECES

    def heal(answer: Answer) -> bool:
        if len(answer.data()) > 16:
            yard.upstream.script = Script(pieces=again)
        return answer.finished

    whole = await call.until(heal)
    kinds = [event["type"] for event in whole.data()]
    assert ("response.reset" in kinds) == differs
    response = whole.data()[-1]["response"]
    assert told(whole) == kept(response)
    called = [item["name"] for item in response["output"] if item["type"] == "function_call"]
    assert called == (["clock"] if differs else ["weather", "clock"])


async def test_a_late_reader_is_painted_what_is_there(yard: FakeYard) -> None:
    yard.upstream.script = Script(pieces=PIECES, hold_after=5)
    call = yard.client.open("POST", PATH, json_body=STREAM)
    first = await call.until(lambda answer: len(answer.data()) == 17)
    target = f"{PATH}/{first.headers['x-response-id']}?stream=true&snapshot=true"
    late = yard.client.open("GET", target)
    [picture] = (await late.until(lambda answer: bool(answer.data()))).data()
    assert picture["type"] == "response.resync"
    assert kept(picture["response"]) == told(first)
    yard.upstream.go_on()
    rest = (await late.finish()).data()[1:]
    assert [event["sequence_number"] for event in rest] == list(range(17, len(TYPES)))
    await call.finish()


async def test_a_call_that_is_cut_off_is_kept_but_not_sent_again(yard: FakeYard) -> None:
    made = (await yard.client.call("POST", "/v1/conversations", body=b"")).json()["id"]
    yard.upstream.script = Script(pieces=PIECES, hold_after=5)
    call = yard.client.open("POST", PATH, json_body={**STREAM, "conversation": made})
    first = await call.until(lambda answer: len(answer.data()) == 17)
    await yard.client.call("POST", f"{PATH}/{first.headers['x-response-id']}/cancel")
    last = (await call.finish()).data()[-1]["response"]["output"][-1]
    assert (last["type"], last["status"], last["arguments"]) == (
        "function_call",
        "incomplete",
        '{"city":',
    )
    yard.upstream.script = Script()
    asked = {"model": MODEL, "input": "Never mind.", "conversation": made}
    assert (await yard.client.call("POST", PATH, json_body=asked)).status == 200
    roles = [turn["role"] for turn in json.loads(yard.upstream.calls[-1].body)["messages"]]
    assert roles == ["user", "assistant", "user"]


@pytest.mark.parametrize("way", ["conversation", "previous", "stateless"])
async def test_the_output_of_a_call_goes_back_in_every_way(yard: FakeYard, way: str) -> None:
    yard.upstream.script = Script(pieces=PIECES)
    ask = dict(ASK)
    if way == "conversation":
        made = await yard.client.call("POST", "/v1/conversations", body=b"")
        ask["conversation"] = made.json()["id"]
    first = (await yard.client.call("POST", PATH, json_body=ask)).json()
    outputs = [
        {"type": "function_call_output", "call_id": "call_0", "output": "rain"},
        {
            "type": "function_call_output",
            "call_id": "call_1",
            "output": [{"type": "input_text", "text": "noon"}],
        },
    ]
    yard.upstream.script = Script(pieces=["Yes."])
    if way == "previous":
        ask["previous_response_id"] = first["id"]
    question = [{"role": "user", "content": ask["input"]}]
    history = [*question, *first["output"]] if way == "stateless" else []
    second = await yard.client.call("POST", PATH, json_body={**ask, "input": [*history, *outputs]})
    assert second.json()["output"][0]["content"][0]["text"] == "Yes."
    assert json.loads(yard.upstream.calls[-1].body)["messages"] == [
        {"role": "user", "content": "Will it rain?"},
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [
                {
                    "id": "call_0",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city":"Köln"}'},
                },
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "clock", "arguments": "{}"},
                },
            ],
        },
        {"role": "tool", "content": "rain", "tool_call_id": "call_0"},
        {"role": "tool", "content": "noon", "tool_call_id": "call_1"},
    ]
    listed = await yard.client.call("GET", f"{PATH}/{second.json()['id']}/input_items?order=asc")
    validator("response_input_items").validate(listed.json())
    assert [one["output"] for one in listed.json()["data"][-2:]] == ["rain", "noon"]
    if way == "conversation":
        target = f"/v1/conversations/{ask['conversation']}/items?order=asc"
        items = (await yard.client.call("GET", target)).json()
        validator("conversation_items").validate(items)
        assert [item["type"] for item in items["data"]] == [
            "message",
            "reasoning",
            "message",
            "function_call",
            "function_call",
            "function_call_output",
            "function_call_output",
            "message",
        ]


@pytest.mark.parametrize(
    ("items", "param"),
    [
        ([{"type": "function_call_output", "call_id": "call_9", "output": "x"}], "input"),
        (
            [{"type": "function_call", "call_id": "call_9", "name": "clock", "arguments": "{}"}],
            "input",
        ),
        ([{"type": "function_call", "call_id": "c", "name": "n"}], "input[0].arguments"),
        ([{"type": "function_call_output", "output": "x"}], "input[0].call_id"),
        ([{"role": "user"}], "input[0].content"),
        ([{"role": "tool", "content": "x"}], "input[0].role"),
        ([{"type": "web_search_call"}], "input[0].type"),
    ],
)
async def test_items_that_do_not_fit_are_refused_by_name(
    yard: FakeYard, items: list[Any], param: str
) -> None:
    answer = await yard.client.call("POST", PATH, json_body={**ASK, "input": items})
    assert (answer.status, answer.error["param"]) == (400, param)
    assert not yard.upstream.calls


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [TOOL, {"type": "mcp", "server_label": "x"}]}, "tools[1].type"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"tools": [{**TOOL, "name": "no spaces"}]}, "tools[0]"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "nobody"}}, "tool_choice"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice"),
        ({"tool_choice": "required", "tools": []}, "tool_choice"),
    ],
)
async def test_tools_that_we_do_not_have_are_refused_by_name(
    yard: FakeYard, change: dict[str, Any], param: str
) -> None:
    answer = await yard.client.call("POST", PATH, json_body={**ASK, **change})
    assert (answer.status, answer.error["param"]) == (400, param)
    assert not yard.upstream.calls


@pytest.mark.parametrize(
    ("choice", "sent", "count"),
    [
        ("auto", "auto", 2),
        ("none", "none", 2),
        ("required", "required", 2),
        (
            {"type": "function", "name": "clock"},
            {"type": "function", "function": {"name": "clock"}},
            2,
        ),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "clock"}],
            },
            "required",
            1,
        ),
    ],
)
async def test_the_choice_of_tools_reaches_the_model_server(
    yard: FakeYard, choice: Any, sent: Any, count: int
) -> None:
    asked = {**ASK, "tool_choice": choice, "parallel_tool_calls": False}
    answer = (await yard.client.call("POST", PATH, json_body=asked)).json()
    validator("response").validate(answer)
    assert (answer["tool_choice"], answer["parallel_tool_calls"]) == (choice, False)
    body = json.loads(yard.upstream.calls[0].body)
    assert (body["tool_choice"], len(body["tools"])) == (sent, count)
    assert body["parallel_tool_calls"] is False


async def test_how_much_to_think_is_told_to_the_model_server(yard: FakeYard) -> None:
    asked = {**ASK, "reasoning": {"effort": "low"}}
    answer = (await yard.client.call("POST", PATH, json_body=asked)).json()
    assert answer["reasoning"] == {"effort": "low", "summary": None}
    assert json.loads(yard.upstream.calls[0].body)["reasoning_effort"] == "low"


async def test_calls_in_a_tangle_end_the_answer(yard: FakeYard) -> None:
    tangled = [begins("weather"), begins("clock", 1), argues("{}", 0)]
    yard.upstream.script = Script(pieces=tangled)
    answer = (await yard.client.call("POST", PATH, json_body=ASK)).json()
    assert (answer["status"], answer["error"]["reason"]) == ("failed", "generation_failed")


@pytest.mark.parametrize("name", ["include", "include[]"])
async def test_what_else_is_to_be_told_is_refused_by_name(yard: FakeYard, name: str) -> None:
    made = (await yard.client.call("POST", "/v1/conversations", body=b"")).json()["id"]
    response = (await yard.client.call("POST", PATH, json_body=ASK)).json()["id"]
    query = f"?{name}=reasoning.encrypted_content"
    for target in (
        f"/v1/conversations/{made}/items",
        f"{PATH}/{response}",
        f"{PATH}/{response}/input_items",
    ):
        answer = await yard.client.call("GET", target + query)
        assert (answer.status, answer.error["param"]) == (400, "include")
