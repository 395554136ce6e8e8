"""Which tokens the next step computes, and who has to wait or give way.

There are no phases. Each sequence has tokens, and a count of those that are computed; a step moves
counts forward under a token budget. Decodes (one token missing) go first and are never starved;
what is left of the budget goes to prompts, oldest first, cut into chunks. When the blocks run out,
the youngest sequence of the lowest class gives all of its blocks back and is computed again later;
no one is admitted in a step that took something away. A sequence is admitted only when its whole
prompt fits (or its first chunk, as the limits say), and a request that could never fit is refused
before it gets here, so the oldest one always moves on.

Knows ids and counts; not what a token means, how it is drawn, or when an answer is complete.
"""

from bisect import insort
from collections.abc import Mapping
from collections.abc import Sequence as Sequence_
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from tokenyard.engine.rules.paging import BlockPool
from tokenyard.engine.rules.prefixes import BlockName, extend_names, name_root
from tokenyard.engine.rules.speculation import DraftBook

# Stands for a token that was drawn on the device and is not known here yet.
UNKNOWN = -1


class SequenceState(StrEnum):
    """Where a sequence is; always set, never guessed from counts."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(slots=True, eq=False)
class Sequence:
    """One text in the making: the prompt and what was generated so far."""

    id: int
    # Prompt first; grows by one with each generated token.
    tokens: list[int]
    # Lower comes first.
    priority: int = 0
    # Of the prefix cache; sequences with different salts share nothing.
    salt: str = ""
    state: SequenceState = SequenceState.WAITING
    # The first `computed` tokens have their keys and values in `blocks`.
    computed: int = 0
    blocks: list[int] = field(default_factory=list)
    names: list[BlockName] = field(default_factory=list)
    # Of the blocks, the first so many are published under their names.
    published: int = 0
    prompt_count: int = 0
    # Prompt tokens found in the prefix cache at the first admission; None before it.
    cached_count: int | None = None
    preemptions: int = 0
    # The newest so many tokens are UNKNOWN; a step computes with them all the same.
    unknown: int = 0
    # Length at which the text is complete, so that no step goes beyond it. None: not bounded.
    full_count: int | None = None
    # Another text with the same prompt whose computed blocks this one waits for, to share them.
    leader: "Sequence | None" = None
    # Whether each draw depends on all tokens before it in ways that only the host knows.
    waits_for_tokens: bool = False
    # Likeliest tokens to report for each place of the prompt, which then is computed anew.
    prompt_top: int | None = None
    # Whether what the model makes of the prompt is summed up, which then is computed anew too.
    embeds: bool = False
    # Number of the adapter that its tokens are computed with; 0 for none.
    adapter: int = 0
    # Guesses at its next tokens; None where a draw depends on more than seed and position.
    book: DraftBook | None = None

    def __post_init__(self) -> None:
        self.prompt_count = len(self.tokens)

    @property
    def turn(self) -> tuple[int, int]:
        """Order of service: class, then arrival, as ids grow with it."""
        return (self.priority, self.id)

    @property
    def missing(self) -> int:
        return len(self.tokens) - self.computed

    @property
    def follows(self) -> bool:
        """Whether its leader is still computing the prompt that they share.

        The leader came first and stands before it wherever it is, so the wait has an end.
        """
        leader = self.leader
        return (
            leader is not None
            and leader.state is not SequenceState.ENDED
            and leader.computed < leader.prompt_count
        )

    @property
    def decodes(self) -> bool:
        """Whether one token is missing and may be computed now, known or not."""
        if self.missing != 1:
            return False
        if not self.unknown:
            return True
        return not self.waits_for_tokens and len(self.tokens) != self.full_count


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens [start, start + count) of one sequence, to be computed in this step."""

    sequence: Sequence
    start: int
    count: int
    # Whether the step reaches the end of the sequence, so that its next token is drawn.
    draws: bool
    # Of the tokens, the last ones that are guesses; what follows each is drawn too.
    drafts: tuple[int, ...] = ()

    @property
    def tokens(self) -> list[int]:
        """What is to be computed."""
        return [*self.sequence.tokens[self.start : self.known_end], *self.drafts]

    @property
    def known_end(self) -> int:
        """The place after the last token that is no guess."""
        return self.start + self.count - len(self.drafts)


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What one step computes. `admitted` and `preempted` are for metrics."""

    chunks: tuple[Chunk, ...]
    admitted: tuple[Sequence, ...] = ()
    preempted: tuple[Sequence, ...] = ()

    @property
    def token_count(self) -> int:
        return sum(chunk.count for chunk in self.chunks)


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How large a step may be."""

    step_tokens_max: int
    sequences_max: int
    block_tokens: int
    # While others are decoding, a step computes no more prompt tokens than this.
    chunk_tokens_max: int
    # Blocks that stay free when a sequence is admitted beside others: their texts will grow.
    spare_blocks: int = 0
    # Whether a sequence is admitted only when its whole prompt fits, else its first chunk.
    reserves_prompts: bool = True
    # Guesses for one sequence in a step; 0 for none.
    draft_tokens_max: int = 0
    # Decodes and guesses of a step together: more rows are not computed at the price of one.
    draft_rows_max: int = 8


class Batch:
    """All sequences of one engine that have not ended, and the blocks they hold."""

    def __init__(self, pool: BlockPool, limits: BatchLimits, *, prefix_cache: bool = True) -> None:
        self.pool = pool
        self.limits = limits
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self._prefix_cache = prefix_cache

    @property
    def capacity_tokens(self) -> int:
        """The most tokens that one sequence can have computed."""
        return self.pool.block_count * self.limits.block_tokens

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence by its turn."""
        insort(self.waiting, sequence, key=lambda one: one.turn)

    def plan_step(self) -> StepPlan:
        """Choose the next step and give out the blocks it needs."""
        preempted: list[Sequence] = []
        chunks = self._plan_decodes(preempted)
        budget = self.limits.step_tokens_max - sum(chunk.count for chunk in chunks)
        if chunks:
            budget = min(budget, self.limits.chunk_tokens_max)
        for sequence in list(self.running):
            if sequence.missing <= 1 or budget <= 0 or sequence.state is not SequenceState.RUNNING:
                continue
            if self._make_room(sequence, min(sequence.missing, budget), preempted):
                budget -= _plan_chunk(chunks, sequence, budget)
        if preempted:
            # One that gave way to a prompt may have had its place in this step already.
            chunks = [one for one in chunks if one.sequence.state is SequenceState.RUNNING]
        admitted: list[Sequence] = []
        while not preempted and budget > 0 and self._admit_next(budget):
            sequence = self.running[-1]
            admitted.append(sequence)
            budget -= _plan_chunk(chunks, sequence, budget)
        self.running.sort(key=lambda one: one.turn)
        return StepPlan(tuple(chunks), tuple(admitted), tuple(preempted))

    def settle(self, plan: StepPlan, drawn: dict[int, int]) -> None:
        """Book a step that was computed. `drawn`: the new token by id of each sequence that drew.

        A sequence that ended meanwhile is passed over.
        """
        self.advance(plan)
        self.learn(plan, drawn)

    def advance(self, plan: StepPlan) -> None:
        """Book a step that is under way, so that the next one can be planned before it ends."""
        for chunk in plan.chunks:
            sequence = chunk.sequence
            if sequence.state is SequenceState.RUNNING:
                sequence.computed = chunk.known_end
                if chunk.draws:
                    sequence.tokens.append(UNKNOWN)
                    sequence.unknown += 1

    def learn(
        self,
        plan: StepPlan,
        drawn: dict[int, int],
        more: Mapping[int, Sequence_[int]] = MappingProxyType({}),
    ) -> None:
        """Put in the tokens that a step drew, once; steps in the order of `advance`.

        more: by id, further tokens, where the guesses before them were right.
        A sequence that gave way meanwhile learns its token too: it stays true.
        """
        for chunk in plan.chunks:
            sequence = chunk.sequence
            if sequence.state is SequenceState.ENDED:
                continue
            if chunk.draws:
                sequence.tokens[chunk.known_end] = drawn[sequence.id]
                sequence.unknown -= 1
                further = more.get(sequence.id, ())
                sequence.tokens += further
                sequence.computed += len(further)
            if sequence.state is SequenceState.RUNNING:
                self._publish(sequence)

    def end(self, sequence: Sequence) -> None:
        """Take a sequence out, wherever it is, and give its blocks back; quiet the second time."""
        if sequence.state is SequenceState.RUNNING:
            self.running.remove(sequence)
        elif sequence.state is SequenceState.WAITING:
            self.waiting.remove(sequence)
        sequence.state = SequenceState.ENDED
        self._give_back(sequence)

    def _plan_decodes(self, preempted: list[Sequence]) -> list[Chunk]:
        chunks: list[Chunk] = []
        limits = self.limits
        spare = min(limits.draft_rows_max, limits.step_tokens_max)
        if limits.draft_tokens_max:
            spare -= sum(sequence.decodes for sequence in self.running)
        for sequence in list(self.running):
            if not sequence.decodes or sequence.state is not SequenceState.RUNNING:
                continue
            if len(chunks) == limits.step_tokens_max:
                break
            if self._make_room(sequence, 1, preempted):
                drafts = self._draft(sequence, spare)
                spare -= len(drafts)
                chunks.append(Chunk(sequence, sequence.computed, 1 + len(drafts), True, drafts))
        return chunks

    def _draft(self, sequence: Sequence, spare: int) -> tuple[int, ...]:
        """Guesses that do not reach beyond the text's end. No sequence gives way to them."""
        if sequence.book is None or sequence.unknown or sequence.full_count is None:
            return ()
        left = sequence.full_count - len(sequence.tokens) - 1
        drafts = sequence.book.propose(
            sequence.tokens, min(self.limits.draft_tokens_max, spare, left)
        )
        size, end = self.limits.block_tokens, sequence.computed + 1 + len(drafts)
        # Each other one may need a block in this step.
        while end > len(sequence.blocks) * size and self.pool.available > len(self.running):
            sequence.blocks += self.pool.take(1)
        return drafts[: len(sequence.blocks) * size - sequence.computed - 1]

    def _make_room(self, sequence: Sequence, count: int, preempted: list[Sequence]) -> bool:
        """Blocks for the next tokens, taken from the last in turn if need be; itself may be it."""
        while sequence.computed + count > len(sequence.blocks) * self.limits.block_tokens:
            if self.pool.available:
                sequence.blocks += self.pool.take(1)
                continue
            victim = max(self.running, key=lambda one: one.turn)
            self._preempt(victim)
            preempted.append(victim)
            if victim is sequence:
                return False
        return True

    def _preempt(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self._give_back(sequence)
        sequence.computed = sequence.published = 0
        sequence.preemptions += 1
        sequence.state = SequenceState.WAITING
        self.add(sequence)

    def _give_back(self, sequence: Sequence) -> None:
        self.pool.release(sequence.blocks)
        sequence.blocks = []

    def _admit_next(self, budget: int) -> bool:
        """Look up the prefix, then reserve, then count: one transaction for the first in line."""
        if not self.waiting or len(self.running) >= self.limits.sequences_max:
            return False
        sequence = self.waiting[0]
        if self._prefix_cache and sequence.follows:
            return False
        size = self.limits.block_tokens
        hits = self._find_prefix(sequence)
        count = len(sequence.tokens)
        if not self.limits.reserves_prompts:
            count = min(count, len(hits) * size + budget)
        needed = -(-count // size) - len(hits)
        spare = self.limits.spare_blocks if self.running else 0
        if needed + spare > self.pool.available - self.pool.count_unused(hits):
            return False
        self.pool.share(hits)
        sequence.blocks = hits + self.pool.take(needed)
        sequence.computed = len(hits) * size
        sequence.published = len(hits)
        if sequence.cached_count is None:
            sequence.cached_count = sequence.computed
        del self.waiting[0]
        sequence.state = SequenceState.RUNNING
        self.running.append(sequence)
        return True

    def _find_prefix(self, sequence: Sequence) -> list[int]:
        """Stored blocks of the prompt, but never its last token: something must be computed."""
        if not self._prefix_cache or sequence.prompt_top is not None or sequence.embeds:
            return []
        size = self.limits.block_tokens
        extend_names(sequence.names, name_root(sequence.salt), sequence.tokens, size)
        return self.pool.find(sequence.names, (len(sequence.tokens) - 1) // size)

    def _publish(self, sequence: Sequence) -> None:
        known = len(sequence.tokens) - sequence.unknown
        whole = min(sequence.computed, known) // self.limits.block_tokens
        if not self._prefix_cache or whole == sequence.published:
            return
        size = self.limits.block_tokens
        tokens = sequence.tokens[:known] if sequence.unknown else sequence.tokens
        extend_names(sequence.names, name_root(sequence.salt), tokens, size)
        for place in range(sequence.published, whole):
            self.pool.publish(sequence.blocks[place], sequence.names[place])
        sequence.published = whole


def _plan_chunk(chunks: list[Chunk], sequence: Sequence, budget: int) -> int:
    """Add as much of the sequence as the budget allows; gives the tokens it took."""
    count = min(sequence.missing, budget)
    chunks.append(Chunk(sequence, sequence.computed, count, draws=count == sequence.missing))
    return count
