"""How servers of other makes differ from our wire, and what makes them alike.

Works on JSON trees, so that fields we do not know pass through. Knows what each server says; does
not know connections. Sources: the README of llama.cpp's server (autumn 2026), vLLM 0.33's protocol
modules, and the OpenAI API reference.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, assert_never

import msgspec

from tokenyard.protocol.chat_completions import UsageBody
from tokenyard.protocol.models import Model, SamplingDefaults
from tokenyard.upstreams.ports import GenerationCall, GenerationPath
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.generation import Usage
from tokenyard.vocabulary.reasons import Reason

Tree = dict[str, Any]


class Dialect(StrEnum):
    """Whose words a server speaks."""

    LLAMACPP = "llamacpp"
    VLLM = "vllm"
    # Any server that speaks OpenAI's API.
    OPENAI = "openai"
    # OpenAI's own, or a service that is as strict.
    PLATFORM = "openai-platform"


@dataclass(frozen=True, slots=True)
class Counts:
    """What a server has told of a call's tokens so far."""

    prompt: int
    completion: int
    cached: int
    reasoning: int = 0
    # The server's own spelling, whose other fields are passed on.
    told: Mapping[str, Any] = field(default_factory=dict)

    def usage(self) -> Usage:
        return Usage(
            self.prompt,
            self.completion,
            min(self.cached, self.prompt),
            min(self.reasoning, self.completion),
        )


def translate(call: GenerationCall, dialect: Dialect, defaults: SamplingDefaults) -> bytes:
    """The body to send; raises InvalidRequest for what that server would ignore in silence.

    defaults: how to draw where the request is silent, for a server that would choose by itself.
    """
    match dialect:
        case Dialect.LLAMACPP:
            return _for_llamacpp(call, defaults)
        case Dialect.VLLM:
            return _for_vllm(call)
        case Dialect.OPENAI:
            return _without_priority(call)
        case Dialect.PLATFORM:
            return _for_platform(call)
        case _:
            assert_never(dialect)


def _without_priority(call: GenerationCall) -> bytes:
    """OpenAI refuses the field, and vLLM too unless it was started to schedule by it."""
    if b'"priority"' not in call.body:
        return call.body
    tree: Tree = msgspec.json.decode(call.body)
    tree.pop("priority", None)
    return msgspec.json.encode(tree)


# Extensions of other servers; OpenAI's own API refuses them all, each call after it was sent.
_PLATFORM_LACKS: Mapping[str, tuple[Any, ...]] = {
    "top_k": (0,), "min_p": (0,), "min_tokens": (0,), "repetition_penalty": (1,),
    "ignore_eos": (False,), "stop_token_ids": ([],), "bad_words": ([],), "cache_salt": (),
    "structured_outputs": (), "return_token_ids": (False,), "continue_token_ids": ([],),
    "allowed_token_ids": (), "include_stop_str_in_output": (False,), "skip_special_tokens": (True,),
    "prompt_logprobs": (), "truncate_prompt_tokens": (), "return_progress": (False,),
    "add_generation_prompt": (True,), "continue_final_message": (False,),
    "chat_template_kwargs": ({},),
}  # fmt: skip


def _for_platform(call: GenerationCall) -> bytes:
    """Without what it would refuse, and with the one name for a length that all its models take."""
    tree: Tree = msgspec.json.decode(call.body)
    tree.pop("priority", None)
    for name, nothing in _PLATFORM_LACKS.items():
        value = tree.pop(name, None)
        if value is not None and value not in nothing:
            raise _unsupported(name, "OpenAI's API")
    older = tree.get("max_tokens")
    if call.path is GenerationPath.CHAT and older is not None:
        del tree["max_tokens"]
        tree.setdefault("max_completion_tokens", older)
    for message in tree.get("messages", ()):
        # It is a part of our answers, which clients send back, and unknown there.
        message.pop("reasoning_content", None)
    return msgspec.json.encode(tree)


def _for_vllm(call: GenerationCall) -> bytes:
    tree: Tree = msgspec.json.decode(_without_priority(call))
    if tree.get("continue_token_ids"):
        raise _unsupported("continue_token_ids", "vLLM")
    if tree.get("stream"):
        # Counts with every event, so that a call that is cut short is billed exactly.
        options = tree.get("stream_options") or {}
        tree["stream_options"] = {**options, "continuous_usage_stats": True}
    return msgspec.json.encode(tree)


# It draws from 2^32 seeds, and the last of them means "any".
_LLAMACPP_SEEDS = 2**32 - 1
# Its own cut of the unlikely, which the API does not have.
_LLAMACPP_UNCUT: Tree = {"top_k": 0, "min_p": 0.0}
# Values that ask for nothing may pass; it answers others as if they were not there, or (n) counts
# the tokens of one answer only.
_LLAMACPP_IGNORES: Mapping[str, tuple[Any, ...]] = {
    "n": (1,), "best_of": (1,), "echo": (False,), "suffix": ("",), "bad_words": ([],),
    "continue_token_ids": ([],),
    "allowed_token_ids": (), "prompt_logprobs": (), "truncate_prompt_tokens": (),
    "include_stop_str_in_output": (False,), "skip_special_tokens": (True,),
}  # fmt: skip


def _for_llamacpp(call: GenerationCall, defaults: SamplingDefaults) -> bytes:
    tree: Tree = msgspec.json.decode(call.body)
    told = {name: value for name, value in tree.items() if value is not None}
    for name, nothing in _LLAMACPP_IGNORES.items():
        if name in told and told[name] not in nothing:
            raise _unsupported(name)
    if call.path is GenerationPath.TEXT and told.get("logprobs") is not None:
        # It answers in the form of chat completions.
        raise _unsupported("logprobs")
    if "seed" in told:
        told["seed"] %= _LLAMACPP_SEEDS
    if told.get("stream"):
        told["timings_per_token"] = True
    silent = {"temperature": defaults.temperature, "top_p": defaults.top_p, **_LLAMACPP_UNCUT}
    return msgspec.json.encode({**silent, **told})


def _unsupported(name: str, server: str = "llama.cpp") -> InvalidRequest:
    return InvalidRequest(
        f"{server} does not support '{name}'.", reason=Reason.UNSUPPORTED_PARAMETER, param=name
    )


def take_counts(tree: Tree) -> Counts | None:
    """Take the counts out of an answer or event; what is left carries none of them."""
    timings, usage = tree.pop("timings", None), tree.pop("usage", None)
    if isinstance(usage, dict):
        return Counts(
            _count(usage, "prompt_tokens"),
            _count(usage, "completion_tokens"),
            _count(_part(usage, "prompt_tokens_details"), "cached_tokens"),
            _count(_part(usage, "completion_tokens_details"), "reasoning_tokens"),
            usage,
        )
    if isinstance(timings, dict) and "predicted_n" in timings:
        # llama.cpp's: `prompt_n` leaves out what its cache had.
        cached = _count(timings, "cache_n")
        read = cached + _count(timings, "prompt_n")
        return Counts(read, _count(timings, "predicted_n"), cached)
    return None


def spell_usage(counts: Counts) -> Tree:
    """The counts as ours are spelled, with whatever else the server told beside them."""
    usage = dict(counts.told)
    for name, value in msgspec.to_builtins(UsageBody.of(counts.usage())).items():
        beside = usage.get(name)
        usage[name] = {**beside, **value} if isinstance(beside, dict) else value
    return usage


def _part(tree: Tree, name: str) -> Tree:
    value = tree.get(name)
    return value if isinstance(value, dict) else {}


def _count(tree: Tree, name: str) -> int:
    value = tree.get(name)
    return value if isinstance(value, int) and value >= 0 else 0


# Inside a text these quotes would be escaped, so they are the wire's own.
_TEXTS = (b'"content":"', b'"content": "', b'"text":"', b'"text": "')


def is_ours(block: bytes) -> bool:
    """Whether frames of a stream can be passed on as they are, seen without reading them.

    Each has to be a whole object with choices, none tells counts or needs to be mended.
    """
    count = block.count(b"\n\n")
    # Spelled out, as this is done for every chunk of every answer.
    return (
        block.count(b"}\n\n") == count
        and block.count(b'"choices":[{') + block.count(b'"choices": [{') == count
        and b'"timings"' not in block
        and b'"error"' not in block
        and b'"content":null' not in block
        and b'"content": null' not in block
        and (b'"usage"' not in block or _is_silent(block))
    )


def _is_silent(block: bytes) -> bool:
    """Whether every usage in a block is null."""
    told = block.count(b'"usage":null') + block.count(b'"usage": null')
    return block.count(b'"usage"') == told


def count_texts(block: bytes) -> int:
    """How many pieces of text frames that are ours carry."""
    count = 0
    for mark in _TEXTS:
        found = block.count(mark)
        if found:
            count += found - block.count(mark + b'"')
    return count


def mend_event(tree: Tree) -> None:
    """Make an event of a stream one of ours: no empty content beside the role."""
    for choice in _choices(tree):
        delta = choice.get("delta")
        if isinstance(delta, dict) and delta.get("content", "") is None:
            del delta["content"]


def mend_answer(tree: Tree) -> None:
    """Give a whole answer what the API requires and this server left out."""
    for choice in _choices(tree):
        choice.setdefault("logprobs", None)
        message = choice.get("message")
        if isinstance(message, dict):
            message.setdefault("content", None)
            message.setdefault("refusal", None)


def has_text(tree: Tree) -> bool:
    """Whether an event of a stream carries text of the answer."""
    return any(
        choice.get("text") or (choice.get("delta") or {}).get("content")
        for choice in _choices(tree)
    )


def last_event(tree: Tree, path: GenerationPath) -> Tree:
    """The event that says that the call was cut short, after the last one that was seen."""
    rest: Tree = {"text": "", "logprobs": None} if path is GenerationPath.TEXT else {"delta": {}}
    return {**tree, "choices": [{"index": 0, **rest, "finish_reason": "abort"}]}


def _choices(tree: Tree) -> list[Tree]:
    choices = tree.get("choices")
    return [one for one in choices if isinstance(one, dict)] if isinstance(choices, list) else []


def model_of(entry: Tree, now: float) -> Model:
    """One entry of a list of models; only `id` has to be there."""
    meta = entry.get("meta") or {}
    window = next(
        (
            value
            for value in (
                entry.get("context_window"),
                entry.get("max_model_len"),
                entry.get("context_length"),
                meta.get("n_ctx"),
            )
            if isinstance(value, int) and value > 0
        ),
        None,
    )
    created, owner = entry.get("created"), entry.get("owned_by")
    model = Model(
        id=str(entry["id"]),
        created=created if isinstance(created, int) else int(now),
        owned_by=owner if isinstance(owner, str) else "unknown",
    )
    if window is not None:
        model.context_window = window
    return model
