"""A conversation as the prompt that the model was trained on, by the checkpoint's chat template.

Decides that no message can forge a turn: the text of control tokens is taken apart in what callers
wrote before the template sees it, so that only the template's own text is read for control tokens.
The template is a program from the checkpoint. It runs in a sandbox, with a limit on the lines it
executes and on what it puts out. Does not know tokens beyond their text.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import FrameType
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEnvironment

from tokenyard.engine.calls import Function, read_manners, spell_out
from tokenyard.engine.tokenizer import Tokenizer
from tokenyard.vocabulary.errors import InvalidRequest, StartError
from tokenyard.vocabulary.messages import Message, Role, ToolUse
from tokenyard.vocabulary.reasons import Reason

MARK_BYTES = 16
TEMPLATE_FILE = "<template>"
PRODUCT_MAX = 1_000_000
# After the mark: where the turn that is to go on ends.
_END = "end"


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja without a way out, and without one-line ways to fill the memory."""

    intercepted_binops = frozenset(("*", "**"))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        if operator == "**" or not numbers:
            raise TemplateError(f"the operator {operator} is only for products of numbers")
        if abs(left) > PRODUCT_MAX or abs(right) > PRODUCT_MAX:
            raise TemplateError("a product is too large")
        return SandboxedEnvironment.call_binop(self, context, operator, left, right)


@dataclass(frozen=True, slots=True)
class Asking:
    """What is asked for beside the turns. opens_turn: the assistant's turn is begun at the end.

    goes_on: the last turn is not closed, the answer continues it. variables: for the template.
    """

    functions: tuple[Function, ...] = ()
    opens_turn: bool = True
    goes_on: bool = False
    variables: Mapping[str, Any] = field(default_factory=dict)


PLAIN = Asking()


class ChatTemplate:
    """The chat template of one model.

    characters_max, lines_max: limits on what one rendering may put out and execute.
    """

    def __init__(
        self,
        source: str,
        tokenizer: Tokenizer,
        *,
        characters_max: int = 8_000_000,
        lines_max: int = 1_000_000,
    ) -> None:
        sandbox = _Sandbox(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        sandbox.globals["raise_exception"] = _raise_from_template
        # Jinja's own is made for HTML.
        sandbox.filters["tojson"] = _to_json
        self.manners = read_manners(source)
        try:
            self._template = sandbox.from_string(source)
        except TemplateError as error:
            raise StartError(f"The model's chat template is broken: {error}.") from None
        self._tokenizer = tokenizer
        self._characters_max = characters_max
        self._lines_max = lines_max
        self._constants = {
            f"{name}_token": "" if token is None else tokenizer.token_text(token)
            for name, token in (("bos", tokenizer.bos_id), ("eos", tokenizer.eos_id))
        }
        self._control_start = re.compile(f"(?={tokenizer.control.pattern})", re.DOTALL)

    def encode(
        self, messages: Sequence[Message], *, mark: bytes, now: float, asking: Asking = PLAIN
    ) -> list[int]:
        """Token ids of the conversation, ready for the assistant's answer.

        mark: random bytes that nobody outside can guess. now: seconds since the epoch, for
        templates that name the date. Raises InvalidRequest(TEMPLATE_FAILED) when the template
        raises, or passes a limit.
        """
        word = "q" + mark.hex() + "q"
        functions: list[dict[str, Any]] | None = None
        if not self.manners.takes_tools:
            messages = spell_out(messages, asking.functions)
        elif asking.functions:
            functions = [one.described() for one in asking.functions]
        turns = [_describe(turn) for turn in messages]
        if asking.goes_on:
            turns[-1]["content"] += word + _END
        variables = {
            **asking.variables,
            "messages": turns,
            "tools": functions,
            "add_generation_prompt": asking.opens_turn and not asking.goes_on,
        }
        text = self._render(self._all_apart(variables, word), now)
        if asking.goes_on:
            text = text.partition(word + _END)[0]
        ids: list[int] = []
        start = 0
        for match in self._tokenizer.control.finditer(text):
            ids.extend(self._encode_between(text[start : match.start()], word))
            ids.extend(self._tokenizer.encode(match.group(), specials=True))
            start = match.end()
        ids.extend(self._encode_between(text[start:], word))
        return self._tokenizer.with_bos(ids)

    def _all_apart(self, value: Any, word: str) -> Any:
        """The same for every text in a value as JSON has them."""
        if isinstance(value, str):
            return self._taken_apart(value, word)
        if isinstance(value, list):
            return [self._all_apart(one, word) for one in value]
        if isinstance(value, dict):
            return {
                self._taken_apart(key, word): self._all_apart(one, word)
                for key, one in value.items()
            }
        return value

    def _taken_apart(self, content: str, word: str) -> str:
        """Replace the first letter of each control token's text by the mark and its code."""
        pieces = []
        start = 0
        # Every start counts, also of texts that overlap; a match is empty, its letter follows it.
        for match in self._control_start.finditer(content):
            place = match.start()
            pieces.append(f"{content[start:place]}{word}{ord(content[place]):x}z")
            start = place + 1
        pieces.append(content[start:])
        return "".join(pieces)

    def _encode_between(self, text: str, word: str) -> list[int]:
        if word in text:
            text = re.sub(f"{word}([0-9a-f]+)z", lambda match: chr(int(match[1], 16)), text)
        return self._tokenizer.encode(text, specials=False)

    def _render(self, variables: dict[str, Any], now: float) -> str:
        def strftime_now(layout: str) -> str:
            return datetime.fromtimestamp(now, UTC).strftime(layout)

        try:
            with _LineLimit(self._lines_max):
                return self._collect({**variables, "strftime_now": strftime_now, **self._constants})
        except InvalidRequest:
            raise
        except Exception as error:
            # A template is foreign code: whatever it raises is about this request.
            raise _failed(f"The chat template refused the messages: {error}.") from None

    def _collect(self, variables: dict[str, Any]) -> str:
        pieces = []
        size = 0
        for piece in self._template.generate(variables):
            pieces.append(piece)
            size += len(piece)
            if size > self._characters_max:
                raise _failed(f"The chat template put out over {self._characters_max} characters.")
        return "".join(pieces)


class _LineLimit:
    """Counts the lines that template code executes in this thread and stops it at a limit.

    A count and not a clock: the same template fails at the same place on every machine.
    """

    def __init__(self, lines_max: int) -> None:
        self._left = lines_max
        self._before: Any = None

    def __enter__(self) -> None:
        self._before = sys.gettrace()
        sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise _failed("The chat template ran for too long.")
        return self._trace if frame.f_code.co_filename == TEMPLATE_FILE else None


def _describe(turn: Message) -> dict[str, Any]:
    """A turn as templates expect it; they know OpenAI's older word only."""
    role = Role.SYSTEM if turn.role is Role.DEVELOPER else turn.role
    described: dict[str, Any] = {"role": role.value, "content": turn.content}
    if turn.calls:
        described["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _read_arguments(call)},
            }
            for call in turn.calls
        ]
    if turn.answers:
        described["tool_call_id"] = turn.answers
    return described


def _read_arguments(call: ToolUse) -> Any:
    """Templates write the object themselves; text that is none stays text."""
    try:
        return json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        return call.arguments


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _failed(message: str) -> InvalidRequest:
    return InvalidRequest(message, reason=Reason.TEMPLATE_FAILED, param="messages")


def _raise_from_template(message: str) -> NoReturn:
    raise TemplateError(message)
