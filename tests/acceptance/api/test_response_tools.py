"""Functions in the Responses API through OpenAI's clients, unchanged, with the real model."""

import json
from typing import Any

import openai

from acceptance.api.test_node_client import ask
from acceptance.wire import check
from acceptance.yard import MODEL, Yard

WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Berlin", "Paris"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
CHOICE: Any = {"type": "function", "name": "weather"}
DELTA = "response.function_call_arguments.delta"
QUESTION = "What is the weather in Paris?"


def test_the_python_client_calls_a_function_and_answers_it(client: openai.OpenAI) -> None:
    tools: Any = [WEATHER]
    with client.responses.stream(
        model=MODEL, input=QUESTION, tools=tools, tool_choice=CHOICE, temperature=0
    ) as stream:
        pieces = [
            event.delta
            for event in stream
            if event.type == "response.function_call_arguments.delta"
        ]
        called = stream.get_final_response()
    [call] = [item for item in called.output if item.type == "function_call"]
    assert "".join(pieces) == call.arguments
    assert json.loads(call.arguments)["city"] in ("Berlin", "Paris")
    raw = client.responses.with_raw_response.create(
        model=MODEL,
        previous_response_id=called.id,
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."}],
        tools=tools,
        tool_choice="none",
        max_output_tokens=16,
        temperature=0,
    )
    check("response", raw.http_response.json())
    assert raw.parse().output_text
    asked = client.responses.input_items.list(raw.parse().id)
    assert [item.type for item in asked.data] == ["function_call_output"]


def test_the_node_client_calls_a_function_and_answers_it(yard: Yard) -> None:
    told = ask(yard, "tools")
    assert told["name"] == "weather"
    assert told["arguments"] == told["pieces"]
    assert json.loads(told["arguments"])["city"] in ("Berlin", "Paris")
    assert told["text"]
    assert told["reasoning"] == 0


def test_a_conversation_keeps_calls_as_items(client: openai.OpenAI) -> None:
    talk = client.conversations.create()
    tools: Any = [WEATHER]
    called = client.responses.create(
        model=MODEL, input=QUESTION, tools=tools, tool_choice=CHOICE, temperature=0,
        conversation=talk.id,
    )  # fmt: skip
    [call] = [item for item in called.output if item.type == "function_call"]
    client.conversations.items.create(
        talk.id,
        items=[{"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."}],
    )
    client.responses.create(
        model=MODEL, input="And now?", conversation=talk.id, max_output_tokens=8, temperature=0
    )
    items = client.conversations.items.with_raw_response.list(talk.id, order="asc")
    check("conversation_items", items.http_response.json())
    kinds = [item.type for item in items.parse().data]
    assert kinds == ["message", "function_call", "function_call_output", "message", "message"]
