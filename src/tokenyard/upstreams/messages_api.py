"""Anthropic's Messages API and ours: a request there, an answer and its events back, as JSON trees.

Knows both forms; does not know connections. A field that the other side does not have is refused by
its name. Leading and later instructions all become its one `system`; what a model wrote for itself
(`reasoning_content`) is not sent back, as it is only taken with a signature that clients never see.
Source: Anthropic's API reference, version 2023-06-01 with the fields added until autumn 2026.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from tokenyard.upstreams.dialects import Counts, Tree
from tokenyard.vocabulary.errors import (
    InvalidRequest,
    LimitReached,
    TokenyardError,
    Unavailable,
    UpstreamFailed,
)
from tokenyard.vocabulary.reasons import Reason

_INSTRUCTIONS = ("system", "developer")
_FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}
# Values that ask for nothing; any other one is refused, as the Messages API has no such field.
_NOTHING: Mapping[str, tuple[Any, ...]] = {
    "n": (1,), "frequency_penalty": (0,), "presence_penalty": (0,), "repetition_penalty": (1,),
    "min_p": (0,), "min_tokens": (0,), "logprobs": (False,), "top_logprobs": (0,),
    "logit_bias": ({},), "store": (False,), "metadata": ({},), "ignore_eos": (False,),
    "stop_token_ids": ([],), "bad_words": ([],), "skip_special_tokens": (True,),
    "include_stop_str_in_output": (False,), "return_token_ids": (False,),
    "return_progress": (False,), "continue_token_ids": ([],), "reasoning_effort": ("none",),
    "chat_template_kwargs": ({},),
}  # fmt: skip
# What is read below, what is not for the server (its place in a queue, our own tier), and what it
# does anyway: a last turn of the assistant's goes on.
_READ = frozenset(
    {
        "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k",
        "stop", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls", "user",
        "response_format", "priority", "service_tier", "continue_final_message",
        "add_generation_prompt",
    }
)  # fmt: skip


def spell_messages(tree: Tree, tokens_max: int) -> Tree:
    """The request as the Messages API has it; raises InvalidRequest naming what it cannot say.

    tokens_max: how long the answer may be where the request does not say; it has to be told there.
    """
    told = {name: value for name, value in tree.items() if value is not None}
    for name, value in told.items():
        if name not in _READ and value not in _NOTHING.get(name, ()):
            raise _unsupported(name)
    body: Tree = {
        "model": told["model"],
        "max_tokens": told.get("max_completion_tokens") or told.get("max_tokens") or tokens_max,
        **spell_turns(told["messages"]),
        **_spell_drawing(told),
    }
    if told.get("stream"):
        body["stream"] = True
    if told.get("user"):
        body["metadata"] = {"user_id": told["user"]}
    form = told.get("response_format") or {"type": "text"}
    if form.get("type") == "json_schema":
        schema = (form.get("json_schema") or {}).get("schema") or {}
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    elif form.get("type") != "text":
        raise _unsupported("response_format")
    if told.get("tools"):
        body["tools"] = [_spell_tool(tool["function"]) for tool in told["tools"]]
        body["tool_choice"] = _spell_choice(told)
    return body


def _spell_drawing(told: Tree) -> Tree:
    """What draws as it would anyway is left out: newer models refuse two of them at once."""
    drawing: Tree = {}
    temperature = told.get("temperature", 1.0)
    if temperature > 1:
        raise InvalidRequest(
            "'temperature' is at most 1 for this model.",
            reason=Reason.UNSUPPORTED_PARAMETER,
            param="temperature",
        )
    if temperature != 1:
        drawing["temperature"] = temperature
    if told.get("top_p", 1.0) != 1:
        drawing["top_p"] = told["top_p"]
    if told.get("top_k"):
        drawing["top_k"] = told["top_k"]
    stop = told.get("stop")
    if stop:
        drawing["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    return drawing


def spell_turns(messages: Iterable[Tree]) -> Tree:
    """`system` and `messages`; turns of one side in a row are one turn."""
    instructions: list[Tree] = []
    turns: list[Tree] = []
    for place, message in enumerate(messages):
        if message["role"] in _INSTRUCTIONS:
            instructions += _spell_text(message.get("content"), place)
            continue
        role = "assistant" if message["role"] == "assistant" else "user"
        blocks = _spell_blocks(message, place)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    return {**({"system": instructions} if instructions else {}), "messages": turns}


def _spell_blocks(message: Tree, place: int) -> list[Tree]:
    said = _spell_text(message.get("content"), place)
    if message["role"] == "tool":
        return [{"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": said}]
    for call in message.get("tool_calls") or ():
        function = call["function"]
        said.append(
            {
                "type": "tool_use",
                "id": call["id"],
                "name": function["name"],
                "input": _read_arguments(function["arguments"], place),
            }
        )
    return said


def _spell_text(content: Any, place: int) -> list[Tree]:
    """Text blocks; the API refuses empty ones."""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    for number, part in enumerate(parts):
        if part.get("type") != "text":
            raise InvalidRequest(
                f"Parts of type '{part.get('type')}' are not supported.",
                reason=Reason.UNSUPPORTED_PARAMETER,
                param=f"messages[{place}].content[{number}].type",
            )
    return [{"type": "text", "text": part["text"]} for part in parts if part["text"]]


def _read_arguments(arguments: str, place: int) -> Tree:
    try:
        return msgspec.json.decode(arguments or "{}", type=dict[str, Any])
    except msgspec.MsgspecError:
        raise InvalidRequest(
            "The arguments of a call are not a JSON object.", param=f"messages[{place}].tool_calls"
        ) from None


def _spell_tool(function: Tree) -> Tree:
    tool: Tree = {
        "name": function["name"],
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
    }
    for name in ("description", "strict"):
        if function.get(name) is not None:
            tool[name] = function[name]
    return tool


def _spell_choice(told: Tree) -> Tree:
    choice = told.get("tool_choice", "auto")
    if isinstance(choice, dict):
        spelled: Tree = {"type": "tool", "name": choice["function"]["name"]}
    else:
        spelled = {"type": _CHOICES[choice]}
    if told.get("parallel_tool_calls") is False and spelled["type"] != "none":
        spelled["disable_parallel_tool_use"] = True
    return spelled


def _unsupported(name: str) -> InvalidRequest:
    return InvalidRequest(
        f"Anthropic's Messages API does not support '{name}'.",
        reason=Reason.UNSUPPORTED_PARAMETER,
        param=name,
    )


def read_counts(usage: Tree) -> Counts:
    """Its counts as ours: it leaves what the cache had, or got, out of `input_tokens`."""
    read, written = _count(usage, "cache_read_input_tokens"), _count(usage, _WRITTEN)
    prompt = _count(usage, "input_tokens") + read + written
    beside = {_WRITTEN: written} if written else {}
    return Counts(prompt, _count(usage, "output_tokens"), read, told=beside)


_WRITTEN = "cache_creation_input_tokens"


def _count(usage: Tree, name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and value >= 0 else 0


def read_failure(told: Any) -> TokenyardError:
    """An error that came in place of an event or answer."""
    error = told if isinstance(told, dict) else {}
    message = str(error.get("message") or "The model server failed without an explanation.")
    match error.get("type"):
        case "overloaded_error":
            return Unavailable(message, reason=Reason.SYSTEM_OVERLOADED)
        case "rate_limit_error":
            return LimitReached(message)
        case _:
            return UpstreamFailed(message, reason=Reason.GENERATION_FAILED)


def read_answer(answer: Tree, now: float) -> tuple[Tree, Counts]:
    """A whole answer as a chat completion without its usage, and the counts."""
    message: Tree = {"role": "assistant", "content": None, "refusal": None}
    calls: list[Tree] = []
    for block in answer.get("content") or ():
        match block.get("type"):
            case "text":
                message["content"] = (message["content"] or "") + block.get("text", "")
            case "thinking":
                said = message.get("reasoning_content", "") + block.get("thinking", "")
                message["reasoning_content"] = said
            case "tool_use":
                calls.append(_spell_call(block, msgspec.json.encode(block["input"]).decode()))
    if calls:
        message["tool_calls"] = calls
    finish = _FINISHES.get(str(answer.get("stop_reason")), "stop")
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    completion = {**_head(answer, now), "object": "chat.completion", "choices": [choice]}
    return completion, read_counts(answer.get("usage") or {})


def _head(message: Tree, now: float) -> Tree:
    return {
        "id": str(message.get("id", "")),
        "created": int(now),
        "model": str(message.get("model", "")),
    }


def _spell_call(block: Tree, arguments: str) -> Tree:
    function = {"name": block.get("name", ""), "arguments": arguments}
    return {"id": block.get("id", ""), "type": "function", "function": function}


class ChunkReader:
    """Turns the events of one stream into chunks of ours, one at a time.

    `counts` is what was told of the tokens so far: the prompt's at first, the answer's at the end.
    """

    def __init__(self, now: float) -> None:
        self._now = now
        self._head: Tree = {}
        self._usage: Tree = {}
        # Places of the calls among the calls, by the place of their block among all blocks.
        self._calls: dict[int, int] = {}
        self._begun = False
        self._pieces = 0

    @property
    def begun(self) -> bool:
        """Whether a chunk has been made."""
        return self._begun

    @property
    def counts(self) -> Counts:
        """Of a stream that was left half-way, each piece is a token or more."""
        told = read_counts(self._usage)
        said = max(told.completion, self._pieces)
        return Counts(told.prompt, said, told.cached, told=told.told)

    def read(self, event: Tree) -> list[Tree]:
        """The chunks that an event becomes; raises the error that came in its place."""
        match event.get("type"):
            case "message_start":
                message = event.get("message") or {}
                self._head = {**_head(message, self._now), "object": "chat.completion.chunk"}
                self._usage = dict(message.get("usage") or {})
                return []
            case "content_block_start":
                return self._open(_index(event), event.get("content_block") or {})
            case "content_block_delta":
                return self._add(_index(event), event.get("delta") or {})
            case "message_delta":
                # Counts that are told again are sums, not additions.
                told = event.get("usage") or {}
                self._usage |= {name: count for name, count in told.items() if count is not None}
                reason = (event.get("delta") or {}).get("stop_reason")
                return self._say({}, _FINISHES.get(reason, "stop")) if reason else []
            case "error":
                raise read_failure(event.get("error"))
            case _:
                # Pings, ends of blocks, and what was added since.
                return []

    def stop(self) -> list[Tree]:
        """The chunk that says that the call was cut short."""
        return self._say({}, "abort")

    def finish(self) -> Tree:
        """The last chunk, without its usage."""
        return {**self._head, "choices": []}

    def _open(self, block_place: int, block: Tree) -> list[Tree]:
        if block.get("type") != "tool_use":
            return self._add(block_place, {"type": "text_delta", "text": block.get("text", "")})
        place = self._calls[block_place] = len(self._calls)
        return self._say({"tool_calls": [{"index": place, **_spell_call(block, "")}]})

    def _add(self, block_place: int, delta: Tree) -> list[Tree]:
        match delta.get("type"):
            case "text_delta" if delta.get("text"):
                self._pieces += 1
                return self._say({"content": delta["text"]})
            case "thinking_delta" if delta.get("thinking"):
                self._pieces += 1
                return self._say({"reasoning_content": delta["thinking"]})
            case "input_json_delta" if delta.get("partial_json") and block_place in self._calls:
                self._pieces += 1
                function = {"arguments": delta["partial_json"]}
                call = {"index": self._calls[block_place], "function": function}
                return self._say({"tool_calls": [call]})
            case _:
                return []

    def _say(self, delta: Tree, finish: str | None = None) -> list[Tree]:
        """A chunk; the first one is preceded by the role."""
        chunks = [self._chunk(delta, finish)]
        if not self._begun:
            self._begun = True
            chunks.insert(0, self._chunk({"role": "assistant", "content": ""}, None))
        return chunks

    def _chunk(self, delta: Tree, finish: str | None) -> Tree:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return {**self._head, "choices": [choice]}


def _index(event: Tree) -> int:
    return _count(event, "index")
