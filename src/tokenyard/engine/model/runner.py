"""One model on this machine, computing the steps that the planner chose.

Decides how the KV cache's bytes become blocks, and in which order a step's rows lie. Does not know
requests, texts or time.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from tokenyard.engine.model.adapters import AdapterBank, read_adapter
from tokenyard.engine.model.attention import Span, order_spans
from tokenyard.engine.model.checkpoints import Checkpoint, DecoderShape, read_shape
from tokenyard.engine.model.compiled import CompiledOperations, can_compute
from tokenyard.engine.model.decoder import Decoder
from tokenyard.engine.model.kernels import Kernels, Library, choose_library
from tokenyard.engine.model.kv_pool import KvFormat, KvPool
from tokenyard.engine.model.linear import LinearMaker, WeightFormat, choose_format
from tokenyard.engine.model.operations import BeginStep, TorchStep
from tokenyard.engine.model.padding import PaddingDropper
from tokenyard.engine.model.quantisation import has_grid
from tokenyard.engine.model.sampler import History, draw, keep_raw, report, report_all
from tokenyard.engine.ports import Draws, PromptReports
from tokenyard.engine.rules.batching import Chunk
from tokenyard.engine.rules.batching import Sequence as Text
from tokenyard.engine.rules.drawing import DrawRule, TokenReport
from tokenyard.vocabulary.errors import StartError

WARM_UP_ROWS = (1, 16)
# Rows whose logits are at hand at once when a prompt is reported on.
REPORTED_ROWS = 32


@dataclass(frozen=True, slots=True)
class _Computed:
    """What a step gave: the sequences that draw, and their logits in the same order."""

    drawing: list[Text]
    # For each of them, how many guesses stand before the drawn token.
    ahead: list[int]
    logits: torch.Tensor
    prompts: dict[int, PromptReports]
    sums: dict[int, list[float]]


class TorchRunner:
    """Keeps the Runner port, with reports. Loading takes seconds and is in the constructor.

    weights: "auto" or a `WeightFormat`. threads: 0 means one per core. kv_format: "auto" for fp32
    beside fp32 weights and else fp16, or one by name. kernels: as the setting of that name.
    """

    reports_logprobs = True
    reports_prompts = True
    masks_tokens = True
    verifies_drafts = True

    def __init__(
        self,
        file: Checkpoint,
        *,
        weights: str,
        threads: int,
        kv_cache_bytes: int,
        block_tokens: int,
        kv_format: str = KvFormat.FP32,
        kernels: str = Kernels.AUTO,
    ) -> None:
        shape = read_shape(file)
        library = _choose_library(shape, block_tokens, Kernels(kernels))
        self.instructions = None if library is None else library.instructions
        gridded = any(has_grid(tensor.kind) for tensor in file.tensors.values())
        self.weight_format = choose_format(weights, library, gridded=gridded)
        self._threads = threads
        self._use_threads()
        self.context_tokens = shape.context_tokens
        self.vocabulary_size = shape.vocabulary
        kind = KvFormat(kv_format) if kv_format != "auto" else KvFormat.FP16
        if kv_format == "auto" and self.weight_format is WeightFormat.FP32:
            kind = KvFormat.FP32
        token_bytes = kind.bytes_per_token(shape)
        self.block_count = kv_cache_bytes // (token_bytes * block_tokens) - 1
        if self.block_count < 1:
            raise StartError(
                f"engine.kv_cache_bytes = {kv_cache_bytes} does not hold one block of "
                f"{block_tokens} tokens; this model needs {token_bytes} bytes a token."
            )
        self._block_tokens = block_tokens
        self._adapters_lock = threading.Lock()
        # A step takes the bank as it is when it begins.
        self._adapters = AdapterBank(shape, {})
        used = torch.get_num_threads()
        with torch.inference_mode():
            with PaddingDropper() as padding:
                maker = LinearMaker(self.weight_format, padding, library, used)
                self._decoder = Decoder(file, shape, maker)
            self._pool = KvPool(shape, self.block_count, block_tokens, kind)
        turns = self._decoder.turns
        self._begin: BeginStep = partial(TorchStep, shape, turns, self._pool)
        if library is not None:
            self._begin = CompiledOperations(
                library, used, shape, turns, self._pool, layers=self._decoder.layers
            ).begin

    @property
    def arithmetic(self) -> str:
        by = "torch" if self.instructions is None else f"kernels for {self.instructions}"
        return f"{self.weight_format} weights, {self._pool.kind} KV cache, {by}"

    def load_adapter(self, number: int, path: Path, *, rank_max: int) -> None:
        adapter = read_adapter(path, self._decoder.shape, rank_max=rank_max)
        with self._adapters_lock:
            self._adapters = self._adapters.having(number, adapter)

    def drop_adapter(self, number: int) -> None:
        with self._adapters_lock:
            self._adapters = self._adapters.without(number)

    def warm_up(self) -> None:
        """Run steps of the usual sizes, so that the first request pays for no first time."""
        self._use_threads()
        for rows in WARM_UP_ROWS:
            if rows <= self.block_count:
                texts = [Text(number, [0, 0], blocks=[1 + number]) for number in range(rows)]
                self._compute([Chunk(text, 0, 2, draws=True) for text in texts])
                self._compute([Chunk(text, 1, 1, draws=True) for text in texts])
        for block in range(1, min(self.block_count, max(WARM_UP_ROWS)) + 1):
            self._clear([block])

    def run(self, chunks: Sequence[Chunk], rules: Mapping[int, DrawRule]) -> Draws:
        self._use_threads()
        try:
            step = self._compute(chunks)
        except RuntimeError as error:
            # torch has no class of its own for this on the CPU.
            if "allocate memory" in str(error):
                raise MemoryError(str(error)) from error
            raise
        texts, logits = step.drawing, step.logits
        histories = [History(text.tokens, text.prompt_count) for text in texts]
        ordered = [
            replace(rules[text.id], position=rules[text.id].position + ahead)
            if ahead
            else rules[text.id]
            for text, ahead in zip(texts, step.ahead, strict=True)
        ]
        raw = keep_raw(logits, ordered)
        tokens = draw(logits, ordered, histories)
        reports = report(raw, tokens, ordered)
        by_place = {
            (text.id, ahead): token
            for text, ahead, token in zip(texts, step.ahead, tokens, strict=True)
        }
        drawn = Draws(
            {number: token for (number, ahead), token in by_place.items() if not ahead},
            {texts[row].id: report for row, report in reports.items()},
            step.prompts,
            step.sums,
            {one.sequence.id: _accept(one, by_place) for one in chunks if one.drafts},
        )
        for chunk in chunks:
            if drawn.get(chunk.sequence.id, 0) is None:
                self._clear(chunk.sequence.blocks)
        return drawn

    def _compute(self, chunks: Sequence[Chunk]) -> _Computed:
        spans = [
            Span(chunk.start, chunk.start + chunk.count, chunk.sequence.blocks) for chunk in chunks
        ]
        order = order_spans(spans)
        tokens: list[int] = []
        drawing: list[Text] = []
        ahead: list[int] = []
        wanted: list[int] = []
        told: list[tuple[int, Chunk]] = []
        adapters: list[int] = []
        for index in order:
            chunk = chunks[index]
            if chunk.sequence.prompt_top is not None or chunk.sequence.embeds:
                told.append((len(tokens), chunk))
            tokens += chunk.tokens
            adapters += [chunk.sequence.adapter] * chunk.count
            if chunk.draws:
                first = len(tokens) - 1 - len(chunk.drafts)
                for place in range(1 + len(chunk.drafts)):
                    drawing.append(chunk.sequence)
                    ahead.append(place)
                    wanted.append(first + place)
        with torch.inference_mode():
            step = self._begin([spans[index] for index in order])
            chosen = self._adapters.chosen(adapters) if any(adapters) else None
            hidden = self._decoder.forward(torch.tensor(tokens), step, chosen)
            logits = self._decoder.logits(hidden[torch.tensor(wanted, dtype=torch.int64)])
            prompts = {
                chunk.sequence.id: self._report_prompt(hidden[first:], chunk)
                for first, chunk in told
                if chunk.sequence.prompt_top is not None
            }
            sums = {
                chunk.sequence.id: self._sum_prompt(hidden[first:], chunk)
                for first, chunk in told
                if chunk.sequence.embeds
            }
        return _Computed(drawing, ahead, logits, prompts, sums)

    def _sum_prompt(self, hidden: torch.Tensor, chunk: Chunk) -> list[float]:
        # A text that gave way after its draw has one token more than its prompt.
        count = min(chunk.count, chunk.sequence.prompt_count - chunk.start)
        total: list[float] = self._decoder.finish(hidden[:count]).double().sum(dim=0).tolist()
        return total

    def _report_prompt(self, hidden: torch.Tensor, chunk: Chunk) -> PromptReports:
        """Reports on the prompt's tokens that follow a token of the chunk; rows as in the chunk."""
        text, end = chunk.sequence, chunk.start + chunk.count
        known = text.tokens[chunk.start + 1 : min(end + 1, text.prompt_count)]
        reports: list[TokenReport] = []
        # A piece at a time: logits of a whole chunk would take a hundred megabytes.
        for first in range(0, len(known), REPORTED_ROWS):
            some = known[first : first + REPORTED_ROWS]
            logits = self._decoder.logits(hidden[first : first + len(some)])
            reports += report_all(logits, some, text.prompt_top or 0)
        return chunk.start + 1, reports

    def _clear(self, blocks: Sequence[int]) -> None:
        size = self._block_tokens
        with torch.inference_mode():
            for block in blocks:
                self._pool.clear(torch.arange(block * size, (block + 1) * size))

    def _use_threads(self) -> None:
        """OpenMP keeps the number per calling thread, so each entry sets it."""
        if self._threads and torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)


def _accept(chunk: Chunk, drawn: Mapping[tuple[int, int], int | None]) -> list[int]:
    """The tokens after the first drawn one, as long as the guesses before them are right."""
    more: list[int] = []
    for ahead, draft in enumerate(chunk.drafts):
        following = drawn[chunk.sequence.id, ahead + 1]
        if drawn[chunk.sequence.id, ahead] != draft or following is None:
            break
        more.append(following)
    return more


def _choose_library(shape: DecoderShape, block_tokens: int, asked: Kernels) -> Library | None:
    if can_compute(shape, block_tokens):
        return choose_library(asked)
    if asked is Kernels.COMPILED:
        raise StartError(
            f"engine.kernels = compiled does not fit: {shape} with blocks of {block_tokens}."
        )
    return None
