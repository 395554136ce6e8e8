"""Tools as a model sees them: offered in words where its template cannot, and held by a grammar.

Decides which way of writing calls a checkpoint has, by its chat template. Does not know requests,
nor how calls are found in an answer (`rules.speech` does).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from tokenyard.engine.grammar import JSON_OPTIONS, Form, FormKind
from tokenyard.engine.rules.speech import (
    CALL_CLOSES,
    CALL_OPENS,
    THOUGHT_CLOSES,
    THOUGHT_OPENS,
    CallStyle,
)
from tokenyard.vocabulary.messages import Message, Role, ToolUse

RESULT_OPENS, RESULT_CLOSES = "<tool_response>", "</tool_response>"
# The control token with which Llama 3 marks its own tools; its templates alone have it.
_LLAMA_MARK = "<|python_tag|>"
_THOUGHT_MARKS = ("<think>", "enable_thinking")
_OFFER = "These functions can be called, each described by a line of JSON:"
_HOW_TO_CALL = (
    f'A call is written as {CALL_OPENS}, a new line, {{"name": …, "arguments": {{…}}}}, a new line '
    f"and {CALL_CLOSES}. Its result comes back between {RESULT_OPENS} and {RESULT_CLOSES}."
)

# Of grammars. A lazy one ends where it first can: what could be a mark is one. WORDS: what the
# parser of a bare style takes for no call.
_TERMS = rf"""
thought_opens[lazy]: BLANKS "{THOUGHT_OPENS}"
thought_closes[lazy]: TEXT "{THOUGHT_CLOSES}"
TEXT: /(.|\n)*/
WORDS: /([^{{;\s\x1c-\x1f](.|\n)*)?/
BLANKS: /[\s\x1c-\x1f]*/
BLANK: /\n{{0,2}}/
"""


@dataclass(frozen=True, slots=True)
class Function:
    """A function that is offered. parameters: a JSON schema of its one object of arguments.

    strict: its arguments have to fit that schema even where the model chooses to call it.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    strict: bool = False

    def described(self) -> dict[str, Any]:
        """As chat templates expect it."""
        told = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": told}


class Thinking(StrEnum):
    """What an answer may begin with. open: the rest of a thought that the prompt has begun."""

    NONE = "none"
    MAY_OPEN = "may_open"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Manners:
    """What a chat template says of its model. takes_tools: it has a place for them itself."""

    style: CallStyle
    takes_tools: bool
    thinks: bool
    # Whether a caller can ask for answers without thoughts.
    thought_optional: bool

    def thinking(self, opened: bool) -> Thinking:
        """opened: the prompt has begun a thought."""
        if opened:
            return Thinking.OPEN
        return Thinking.MAY_OPEN if self.thinks else Thinking.NONE


def read_manners(template: str) -> Manners:
    """By the marks that the template's text holds."""
    return Manners(
        style=CallStyle.BARE if _LLAMA_MARK in template else CallStyle.TAGGED,
        takes_tools="tools" in template,
        thinks=any(mark in template for mark in _THOUGHT_MARKS),
        thought_optional="enable_thinking" in template,
    )


def spell_out(messages: Sequence[Message], functions: Sequence[Function]) -> list[Message]:
    """Tools, calls and results in words, for a template that knows none of them.

    Results become the user's turns, joined where several follow each other, as such templates want
    turns to alternate.
    """
    told: list[Message] = []
    for message in messages:
        if message.role is Role.TOOL:
            text = f"{RESULT_OPENS}\n{message.content}\n{RESULT_CLOSES}"
            if told and told[-1].role is Role.USER:
                told[-1] = replace(told[-1], content=f"{told[-1].content}\n{text}")
            else:
                told.append(Message(Role.USER, text))
        elif message.calls:
            calls = "\n".join(_write_call(call) for call in message.calls)
            text = f"{message.content}\n{calls}" if message.content else calls
            told.append(Message(message.role, text))
        else:
            told.append(message)
    if functions:
        lines = "\n".join(json.dumps(one.described(), ensure_ascii=False) for one in functions)
        offer = f"{_OFFER}\n{lines}\n{_HOW_TO_CALL}"
        if told and told[0].role in (Role.SYSTEM, Role.DEVELOPER):
            told[0] = replace(told[0], content=f"{told[0].content}\n\n{offer}")
        else:
            told.insert(0, Message(Role.SYSTEM, offer))
    return told


def force_calls(
    style: CallStyle, functions: Sequence[Function], *, many: bool, thinking: Thinking
) -> Form:
    """The form of an answer that is nothing but calls of these functions, after an open thought."""
    rest = f" ({_between(style)} call)*" if many else ""
    start = f"call{rest}"
    if thinking is Thinking.OPEN:
        start = f"thought_closes BLANK {start}"
    opens = "" if style is CallStyle.BARE else json.dumps(CALL_OPENS)
    return _form(style, f"start: {start}", f"call_opens: {opens}", functions)


def guide_calls(
    style: CallStyle, functions: Sequence[Function], *, many: bool, thinking: Thinking
) -> Form:
    """The form of an answer of any words in which what is begun as a call is whole and fits.

    Thoughts are free. Arguments of a function that is not strict are any object.
    """
    if style is CallStyle.BARE:
        # A call stands in place of all words: it is what begins with a brace.
        rest = f" ({_between(style)} call)*" if many else ""
        answer, opens = f"call{rest} | WORDS", "call_opens:"
    else:
        answer = "call* TEXT" if many else "call | TEXT"
        opens = f"call_opens[lazy]: TEXT {json.dumps(CALL_OPENS)}"
    after_thought = "TEXT | thought_closes BLANK answer"
    start = {
        Thinking.NONE: "answer",
        Thinking.MAY_OPEN: f"answer | thought_opens ({after_thought})",
        Thinking.OPEN: after_thought,
    }[thinking]
    loose: dict[str, Any] = {"type": "object"}
    kept = [one if one.strict else replace(one, parameters=loose) for one in functions]
    return _form(style, f"start: {start}\nanswer: {answer}", opens, kept)


def _between(style: CallStyle) -> str:
    return json.dumps("; " if style is CallStyle.BARE else "\n")


def _form(style: CallStyle, start: str, opens: str, functions: Sequence[Function]) -> Form:
    key = "parameters" if style is CallStyle.BARE else "arguments"
    schema = {
        "anyOf": [
            {
                "type": "object",
                "properties": {"name": {"const": one.name}, key: one.parameters},
                "required": ["name", key],
                "additionalProperties": False,
            }
            for one in functions
        ],
        "x-guidance": JSON_OPTIONS,
    }
    call = "call_opens object"
    if style is CallStyle.TAGGED:
        call = rf'call_opens "\n" object "\n{CALL_CLOSES}"'
    told = f"{start}\ncall: {call}\n{opens}\nobject: %json {json.dumps(schema)}"
    return Form(FormKind.LARK, told + _TERMS, "tools")


def _write_call(call: ToolUse) -> str:
    told = f'{{"name": {json.dumps(call.name)}, "arguments": {call.arguments or "{}"}}}'
    return f"{CALL_OPENS}\n{told}\n{CALL_CLOSES}"
