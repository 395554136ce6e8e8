"""Keeps the Device port: steps are launched without waiting, their tokens fetched one step later.

The host writes what a step needs into one buffer, which goes to the device in one copy. Drawn
tokens stay there as the next step's input and are also copied back. Block tables stay on the
device; only their changes travel. A step of decodes is padded to the next size that was captured;
a padding row points at the null block and is stored nowhere. Nothing waits for the device but
`collect`. Does not know requests, texts or time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from tokenyard.engine.model.block_tables import BlockTables
from tokenyard.engine.model.device_decoder import DeviceDecoder, DeviceStep
from tokenyard.engine.model.device_queue import DeviceQueue, Work
from tokenyard.engine.model.device_sampler import (
    BROKEN,
    Adjustments,
    DrawTable,
    Masks,
    draw,
    draw_greedily,
    is_greedy,
    list_adjustments,
    list_masks,
    number_rules,
)
from tokenyard.engine.model.paged import PagedStep
from tokenyard.engine.model.sampler import History
from tokenyard.engine.rules.batching import UNKNOWN, Chunk, SequenceState
from tokenyard.engine.rules.batching import Sequence as Text
from tokenyard.engine.rules.drawing import DrawRule

# One buffer is filled while the step of the other is under way.
STAGES = 2
# Of each row of a step: its token, the drawn row it takes its token from, its position, its slot.
ROW_FIELDS = ("tokens", "sources", "positions", "slots")
# Of each sequence: its tokens in all, and its line in the block tables.
SEQUENCE_FIELDS = ("lengths", "lines")
DECODE_FIELDS = len(ROW_FIELDS) + len(SEQUENCE_FIELDS)
# Each field starts at a multiple of 16 bytes: Triton compiles anew for addresses that do not.
ALIGNED = 4


@dataclass(frozen=True, slots=True)
class Ticket:
    """A step under way. ids: of the sequences that draw, in the order of `drawn`."""

    mark: Any
    ids: tuple[int, ...]
    drawn: Tensor
    # By sequence: its blocks, to be swept when its row is broken.
    blocks: dict[int, list[int]]


@dataclass(slots=True, eq=False)
class _Stage:
    """Host memory of one step under way."""

    integers: Tensor
    drawn: Tensor
    mark: Any = None


@dataclass(frozen=True, slots=True)
class _Rows:
    """A step as lists, in the order of its fields."""

    fields: dict[str, list[int]]
    ids: tuple[int, ...]
    histories: list[History]
    decodes: bool


class DeviceRunner:
    """One model on one device. Use it from one thread.

    step_tokens_max, sequences_max: the batch's limits. graph_sizes: padded sizes of decode steps
    to be captured, ascending; empty for none.
    """

    lag = 1
    masks_tokens = True
    # Their copy back would have to be as asynchronous as the tokens'.
    reports_logprobs = False

    def __init__(
        self,
        decoder: DeviceDecoder,
        queue: DeviceQueue,
        *,
        block_count: int,
        step_tokens_max: int,
        sequences_max: int,
        graph_sizes: Sequence[int] = (),
    ) -> None:
        self._decoder = decoder
        self._queue = queue
        self.block_count = block_count
        self.context_tokens = decoder.shape.context_tokens
        self.vocabulary_size = decoder.shape.vocabulary
        blocks_max = min(block_count, -(-self.context_tokens // decoder.block_tokens))
        self._tables = BlockTables(sequences_max, blocks_max, decoder.device)
        rows_max = max(step_tokens_max, *graph_sizes, sequences_max)
        # Fields of rows, sequences, wanted rows and tiles (a tile has a row or more), then changes.
        size = (DECODE_FIELDS + 4) * (rows_max + ALIGNED) + 2 * (self._tables.changes_max + ALIGNED)
        self._stages = [
            _Stage(
                queue.host_buffer(size, dtype=torch.int32),
                queue.host_buffer(sequences_max, dtype=torch.int32),
            )
            for _ in range(STAGES)
        ]
        self._launched = 0
        self._input = torch.zeros(size, dtype=torch.int32, device=decoder.device)
        self._drawn = torch.zeros(sequences_max, dtype=torch.int32, device=decoder.device)
        # Rows of `_drawn` by sequence, after the newest launch.
        self._drawn_rows: dict[int, int] = {}
        self._counting = torch.arange(rows_max + 1, dtype=torch.int32, device=decoder.device)
        self._logits = torch.zeros(
            max(graph_sizes, default=0),
            decoder.shape.vocabulary,
            dtype=decoder.dtype,
            device=decoder.device,
        )
        self._graphs: dict[int, Work] = {}
        self._capture(graph_sizes)

    @property
    def pool(self) -> list[Tensor]:
        """The decoder's memory of keys and values, layer by layer."""
        return self._decoder.pool

    @property
    def graphs(self) -> Mapping[int, Work]:
        """What was captured, by padded size; replaying one computes whatever its inputs hold."""
        return self._graphs

    def launch(self, chunks: Sequence[Chunk], rules: Mapping[int, DrawRule]) -> Ticket:
        stage = self._stages[self._launched % STAGES]
        if stage.mark is not None:
            # The step before the last one; the loop has collected it already.
            self._queue.wait(stage.mark)
        self._launched += 1
        rows = self._list_rows(chunks)
        changes = self._tables.take_changes()
        places = _pack(stage.integers, rows.fields | changes)
        wanted = [rules[number] for number in rows.ids]
        table = self._upload_rules(wanted, rows.histories)
        used = places["blocks"][1]

        def work() -> None:
            self._input[:used].copy_(stage.integers[:used], non_blocking=True)
            if changes["places"]:
                self._tables.apply(self._view(places, "places"), self._view(places, "blocks"))
            logits = self._compute(rows, places)[: len(rows.ids)]
            drawn = draw_greedily(logits) if table is None else draw(logits, table())
            self._drawn[: len(drawn)] = drawn
            stage.drawn[: len(drawn)].copy_(drawn, non_blocking=True)

        with torch.inference_mode():
            self._queue.submit(work)
            stage.mark = self._queue.mark()
        self._drawn_rows = {number: row for row, number in enumerate(rows.ids)}
        blocks = {chunk.sequence.id: list(chunk.sequence.blocks) for chunk in chunks if chunk.draws}
        return Ticket(stage.mark, rows.ids, stage.drawn, blocks)

    def collect(self, ticket: Ticket) -> dict[int, int | None]:
        self._queue.wait(ticket.mark)
        tokens = ticket.drawn[: len(ticket.ids)].tolist()
        drawn: dict[int, int | None] = {}
        for number, token in zip(ticket.ids, tokens, strict=True):
            drawn[number] = None if token == BROKEN else token
            if token == BROKEN:
                self._sweep(ticket.blocks[number])
        return drawn

    def _sweep(self, blocks: list[int]) -> None:
        with torch.inference_mode():
            self._queue.submit(lambda: self._decoder.clear(blocks))

    def _list_rows(self, chunks: Sequence[Chunk]) -> _Rows:
        """Write the step down, and what changed in the block tables since the last one."""
        decodes = all(chunk.count == 1 and chunk.draws for chunk in chunks)
        size = self._decoder.block_tokens
        fields: dict[str, list[int]] = {name: [] for name in (*ROW_FIELDS, *SEQUENCE_FIELDS)}
        starts, wanted = [0], []
        ids: list[int] = []
        histories: list[History] = []
        for chunk in chunks:
            text, end = chunk.sequence, chunk.start + chunk.count
            tokens = text.tokens[chunk.start : end]
            # Only the newest token can be unknown, and then the step before has drawn it.
            unknown = tokens[-1] == UNKNOWN
            fields["sources"] += [-1] * (chunk.count - 1)
            fields["sources"].append(self._drawn_rows[text.id] if unknown else -1)
            fields["tokens"] += [*tokens[:-1], 0] if unknown else tokens
            fields["positions"] += range(chunk.start, end)
            fields["slots"] += [
                text.blocks[position // size] * size + position % size
                for position in range(chunk.start, end)
            ]
            fields["lengths"].append(end)
            fields["lines"].append(self._tables.line_of(text))
            starts.append(starts[-1] + chunk.count)
            if chunk.draws:
                wanted.append(starts[-1] - 1)
                ids.append(text.id)
                histories.append(History(text.tokens, text.prompt_count))
        if not decodes:
            fields |= {"row_starts": starts, "wanted": wanted} | self._list_tiles(starts)
        elif padding := self._padded(len(chunks)) - len(chunks):
            for name, value in (("tokens", 0), ("sources", -1), ("positions", 0), ("slots", -1)):
                fields[name] += [value] * padding
            for name in SEQUENCE_FIELDS:
                fields[name] += [0] * padding
        return _Rows(fields, tuple(ids), histories, decodes)

    def _list_tiles(self, starts: list[int]) -> dict[str, list[int]]:
        shape = self._decoder.shape
        group = shape.heads // shape.kv_heads
        tile = self._decoder.operations.tile_queries(
            shape.head_width, group, self._decoder.dtype.itemsize
        )
        tiles = [
            (number, row)
            for number in range(len(starts) - 1)
            for row in range(0, starts[number + 1] - starts[number], tile)
        ]
        return {
            "tile_sequences": [number for number, _ in tiles],
            "tile_rows": [row for _, row in tiles],
        }

    def _padded(self, rows: int) -> int:
        return next((size for size in sorted(self._graphs) if size >= rows), rows)

    def _compute(self, rows: _Rows, places: Mapping[str, tuple[int, int]]) -> Tensor:
        """Logits of the rows that draw, followed by those of padding rows."""
        if not rows.decodes:
            return self._decoder.forward(self._read_step(rows, places))
        size = len(rows.fields["tokens"])
        if size in self._graphs:
            self._graphs[size]()
            return self._logits[:size]
        return self._decoder.forward(self._read_decodes(size))

    def _read_step(self, rows: _Rows, places: Mapping[str, tuple[int, int]]) -> DeviceStep:
        counts = rows.fields["row_starts"]
        return DeviceStep(
            tokens=self._read_tokens(self._view(places, "tokens"), self._view(places, "sources")),
            positions=self._view(places, "positions"),
            slots=self._view(places, "slots"),
            wanted=self._view(places, "wanted"),
            paged=PagedStep(
                row_starts=self._view(places, "row_starts"),
                lengths=self._view(places, "lengths"),
                lines=self._view(places, "lines"),
                tables=self._tables.tables,
                block_tokens=self._decoder.block_tokens,
                length_max=max(rows.fields["lengths"]),
                # At least two, so that the path for chunks is taken.
                rows_max=max(2, *(b - a for a, b in pairwise(counts))),
                tile_sequences=self._view(places, "tile_sequences"),
                tile_rows=self._view(places, "tile_rows"),
            ),
        )

    def _read_decodes(self, size: int) -> DeviceStep:
        """A step of decodes, whose fields lie at places that its size alone decides."""
        fields = self._input[: DECODE_FIELDS * _align(size)].view(DECODE_FIELDS, -1)[:, :size]
        tokens, sources, positions, slots, lengths, lines = fields.unbind()
        return DeviceStep(
            tokens=self._read_tokens(tokens, sources),
            positions=positions,
            slots=slots,
            wanted=None,
            paged=PagedStep(
                row_starts=self._counting[: size + 1],
                lengths=lengths,
                lines=lines,
                tables=self._tables.tables,
                block_tokens=self._decoder.block_tokens,
                length_max=self._tables.tables.shape[1] * self._decoder.block_tokens,
                rows_max=1,
            ),
        )

    def _read_tokens(self, tokens: Tensor, sources: Tensor) -> Tensor:
        """The rows' tokens, those that the step before has drawn put in; a broken one is 0."""
        drawn = self._drawn.index_select(0, sources.clamp(min=0))
        return torch.where(sources >= 0, drawn, tokens).clamp(min=0)

    def _upload_rules(self, rules: list[DrawRule], histories: list[History]) -> Any:
        """A function that makes the table on the device; None when all rows are greedy."""
        if is_greedy(rules):
            return None
        numbers = self._fill(number_rules(rules), torch.float64)
        changes = list_adjustments(rules, histories, self._decoder.shape.vocabulary)
        masks = list_masks(rules)
        changed = changes and (
            self._fill(changes[0], torch.int64),
            self._fill(changes[1], torch.float32),
        )
        masked = masks and (
            self._fill([masks[0]], torch.int64),
            self._fill(masks[1], torch.uint8),
        )
        device = self._decoder.device

        def make() -> DrawTable:
            def move(one: Tensor) -> Tensor:
                return one.to(device, non_blocking=True)

            return DrawTable(
                move(numbers),
                top_k_max=max(rule.top_k for rule in rules),
                uses_top_p=any(rule.top_p < 1.0 for rule in rules),
                adjustments=changed and Adjustments(move(changed[0]), move(changed[1])),
                masks=masked and Masks(move(masked[0])[0], move(masked[1])),
            )

        return make

    def _fill(self, lists: Sequence[Sequence[float]], dtype: torch.dtype) -> Tensor:
        buffer = self._queue.host_buffer(len(lists), len(lists[0]), dtype=dtype)
        return buffer.copy_(torch.tensor(lists, dtype=dtype))

    def _view(self, places: Mapping[str, tuple[int, int]], name: str) -> Tensor:
        first, last = places[name]
        return self._input[first:last]

    def _capture(self, sizes: Sequence[int]) -> None:
        """Capture decodes of these sizes, the largest first: later ones fit in its memory."""
        for size in sorted(sizes, reverse=True):

            def work(size: int = size) -> None:
                self._decoder.forward(self._read_decodes(size), self._logits[:size])

            with torch.inference_mode():
                fields = self._input[: DECODE_FIELDS * _align(size)].view(DECODE_FIELDS, -1)
                # While it is captured every row is a padding row.
                fields.zero_()
                fields[ROW_FIELDS.index("sources")] = -1
                fields[ROW_FIELDS.index("slots")] = -1
                self._graphs[size] = self._queue.capture(work)

    def warm_up(self) -> None:
        """Run one step of each kind, so that the first request pays for no first time."""
        rules = {1: DrawRule(1.0, 0.9, 2, 0, 0, min_p=0.1), 2: DrawRule(0.0, 1.0, 0, 0, 0)}
        texts = [Text(number, [0, 0, 0], blocks=[number]) for number in (1, 2)]
        texts = texts[: self.block_count]
        for start, count in ((0, 2), (2, 1)):
            chunks = [Chunk(text, start, count, draws=True) for text in texts]
            self.collect(self.launch(chunks, rules))
        self._sweep([text.id for text in texts])
        self._queue.wait(self._queue.mark())
        for text in texts:
            text.state = SequenceState.ENDED


def _align(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED


def _pack(buffer: Tensor, fields: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, int]]:
    """Write the fields one after the other; gives where each one lies."""
    places: dict[str, tuple[int, int]] = {}
    everything: list[int] = []
    for name, values in fields.items():
        everything += [0] * (_align(len(everything)) - len(everything))
        places[name] = (len(everything), len(everything) + len(values))
        everything += values
    buffer[: len(everything)] = torch.tensor(everything, dtype=torch.int32)
    return places
