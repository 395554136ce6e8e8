"""What a model is asked: its history, cut to its true window where the caller allows it.

Decides what is left out, never in silence: the response says how many turns were. Does not write.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from tokenyard.chat.context import Histories
from tokenyard.chat.conversations import Conversations
from tokenyard.chat.counting import Count, TokenCounts
from tokenyard.chat.records import Ask, Item, ItemKind
from tokenyard.chat.rules.context import (
    check_calls,
    is_stopped,
    show_items,
    spell_attachment,
    spell_turn,
    spell_turns,
    tell_turn,
)
from tokenyard.chat.rules.window import Fullness, bound_tokens, drop_oldest, judge
from tokenyard.runtime.chat_settings import ChatSettings
from tokenyard.upstreams.pool import UpstreamPool
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import ItemId
from tokenyard.vocabulary.messages import Message, Role
from tokenyard.vocabulary.reasons import Reason


@dataclass(frozen=True, slots=True)
class Question:
    """What is sent to the model, and the items that it makes."""

    turns: tuple[Message, ...]
    asked: tuple[Item, ...]
    # The item that the answer, or the first of `asked`, is put below.
    tip: ItemId | None
    # Turns of the history that are not sent.
    dropped: int
    # Whether the last turn is an answer that was stopped and is to be gone on with.
    goes_on: bool


@dataclass(frozen=True, slots=True)
class Gauge:
    """How a question fills the model's window, in tokens."""

    window: int
    answer_room: int
    used: int
    # What the parts are; `template` is what the model's own form adds.
    parts: tuple[tuple[str, int], ...]
    exact: bool
    dropped: int
    fullness: Fullness


class Windows:
    """Prepares questions, and tells how full they are."""

    def __init__(
        self,
        histories: Histories,
        conversations: Conversations,
        counts: TokenCounts,
        pool: UpstreamPool,
        settings: ChatSettings,
    ) -> None:
        self._histories = histories
        self._conversations = conversations
        self._counts = counts
        self._pool = pool
        self._settings = settings

    async def prepare(self, caller: Principal, ask: Ask) -> Question:
        """What to send; raises InvalidRequest when it does not fit, or is nothing."""
        head, shown, asked, tip = await self._lay_out(caller, ask)
        if not head and not shown:
            raise InvalidRequest("There is nothing to answer.", param="input")
        room = self._room(ask)
        keep = len(asked)
        dropped = await self._excess(ask, head, shown, keep, room)
        turns = (*head, *spell_turns(shown[dropped:]))
        goes_on = not asked and bool(shown) and is_stopped(shown[-1])
        check_calls(shown)
        return Question(turns, asked, tip, dropped, goes_on)

    async def measure(self, caller: Principal, ask: Ask) -> Gauge:
        """How the question would fill the window, whether or not it fits."""
        head, shown, asked, _ = await self._lay_out(caller, ask)
        window, room = self._pool.find(ask.model).window(), self._room(ask)
        dropped = 0
        if ask.options.truncate:
            dropped = await self._excess(ask, head, shown, len(asked), room, refuse=False)
        shown = shown[dropped:]
        turns = [*head, *spell_turns(shown)]
        whole = await self._count(ask, turns)
        parts = await self._measure_parts(ask, shown, {item.id for item in asked})
        parts.append(("template", max(0, whole.tokens - sum(tokens for _, tokens in parts))))
        return Gauge(
            window=window,
            answer_room=window - room,
            used=whole.tokens,
            parts=tuple((name, tokens) for name, tokens in parts if tokens),
            exact=whole.exact,
            dropped=dropped,
            fullness=judge(whole.tokens, room),
        )

    async def _lay_out(
        self, caller: Principal, ask: Ask
    ) -> tuple[list[Message], list[Item], tuple[Item, ...], ItemId | None]:
        history = await self._histories.find(caller, ask)
        asked = self._conversations.write_items(ask.turns, history.tip)
        head = list(ask.preamble)
        if ask.instructions is not None:
            head.insert(0, Message(Role.SYSTEM, ask.instructions))
        return head, show_items([*history.path, *asked]), tuple(asked), history.tip

    def _room(self, ask: Ask) -> int:
        """Tokens that the prompt may have: what the answer is to get is kept free."""
        window = self._pool.find(ask.model).window()
        wanted = ask.sampling.max_tokens or self._settings.answer_tokens_min
        return window - min(wanted, window // 2)

    async def _excess(
        self,
        ask: Ask,
        head: Sequence[Message],
        shown: Sequence[Item],
        keep: int,
        room: int,
        *,
        refuse: bool = True,
    ) -> int:
        """How many of the oldest turns do not fit; raises InvalidRequest when none may go."""
        turns = [*head, *spell_turns(shown)]
        if bound_tokens([*map(tell_turn, turns), *_tell_tools(ask)]) <= room:
            return 0
        if not ask.options.truncate:
            # The answer may take what is left, so that only what fills the window is too much.
            room = self._pool.find(ask.model).window() - 1
        # A summary is what is left of what was cut before.
        first = sum(item.kind is ItemKind.SUMMARY for item in shown[:1])
        movable = shown[first : max(first, len(shown) - keep)]
        dropped = 0
        while True:
            left = [
                *head,
                *spell_turns([*shown[:first], *shown[first + dropped :]]),
            ]
            total = await self._count(ask, left)
            if total.tokens <= room:
                return dropped
            if not ask.options.truncate or dropped == len(movable):
                if not refuse:
                    return dropped
                raise _too_long(total.tokens, room)
            rest = movable[dropped:]
            sizes = _share([tell_turn(spell_turn(item)) for item in rest], left, total.tokens)
            dropped += max(1, drop_oldest(sizes, [one.role for one in rest], total.tokens - room))

    async def _measure_parts(
        self, ask: Ask, shown: Sequence[Item], asked: set[ItemId]
    ) -> list[tuple[str, int]]:
        """Tokens of each part's text by itself."""
        texts: dict[str, list[str]] = {
            "instructions": [ask.instructions or ""],
            "prompt": [turn.content for turn in ask.preamble],
            "tools": _tell_tools(ask),
        }
        for item in shown:
            kind = "history"
            if item.kind is ItemKind.SUMMARY:
                kind = "summary"
            elif item.id in asked:
                kind = "input"
            texts.setdefault(kind, []).append(item.text)
            texts.setdefault("attachments", []).extend(
                spell_attachment(one) for one in item.attachments
            )
        empty = (await self._count(ask, [Message(Role.USER, "")])).tokens
        parts = []
        for name, said in texts.items():
            text = "\n".join(one for one in said if one)
            if text:
                alone = await self._count(ask, [Message(Role.USER, text)])
                parts.append((name, max(0, alone.tokens - empty)))
        return parts

    async def _count(self, ask: Ask, turns: Sequence[Message]) -> Count:
        tools, tags = _tell_tools(ask), ask.options.server_tags
        if not tools:
            return await self._counts.count(ask.model, turns, tags)
        # Each template describes them in its own words, in the system's turn.
        told = Message(Role.SYSTEM, "\n".join(tools))
        whole = await self._counts.count(ask.model, [told, *turns], tags)
        return replace(whole, exact=False)


def _tell_tools(ask: Ask) -> list[str]:
    """The tools as the model will read of them, more or less."""
    return [msgspec.json.encode(tool).decode() for tool in ask.offer.tools]


def _share(texts: Sequence[str], turns: Sequence[Message], tokens: int) -> list[int]:
    """Each text's part of all tokens, by its length; rounded down, so that too few are dropped
    rather than too many."""
    whole = max(1, sum(len(tell_turn(turn).encode()) for turn in turns))
    return [len(text.encode()) * tokens // whole for text in texts]


def _too_long(tokens: int, room: int) -> InvalidRequest:
    return InvalidRequest(
        f"The prompt has {tokens} tokens, and the model's window leaves room for {room}. Shorten "
        "it, summarise the conversation, or set truncation to 'auto'.",
        reason=Reason.CONTEXT_LENGTH_EXCEEDED,
        param="input",
    )
