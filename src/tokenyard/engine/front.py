"""The engine as the rest of its process sees it: submit a request, read pieces, drain, stop.

Decides who is let in: a request that can never fit is refused for good (400), one too many for now
(503 with a time to come back). Everything here runs on the event loop; the work is in the loop's
thread.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from tokenyard.engine.adapters import AdapterTable
from tokenyard.engine.generation import Generation, GenerationGroup, GenerationRequest
from tokenyard.engine.grammar import Grammar
from tokenyard.engine.loop import StepLoop
from tokenyard.engine.ports import AdapterKeeper, Device, Masker, PromptReader, Reporter, Runner
from tokenyard.engine.rules.batching import Batch, BatchLimits
from tokenyard.engine.rules.drawing import derive_seed
from tokenyard.engine.rules.paging import BlockPool
from tokenyard.engine.rules.stopping import count_tokens_max
from tokenyard.engine.tokenizer import Tokenizer
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.engine_settings import EngineSettings
from tokenyard.runtime.randomness import Randomness
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import EngineMetrics
from tokenyard.vocabulary.errors import InvalidRequest, Unavailable
from tokenyard.vocabulary.generation import SamplingParameters
from tokenyard.vocabulary.reasons import Reason

SEED_BYTES = 8
RETRY_SECONDS_MIN = 1.0
RETRY_SECONDS_MAX = 60.0
# Weight of the newest request in the moving average of request times.
AVERAGE_WEIGHT = 0.1


class Engine:
    """One model, ready to generate. Made on the event loop; `start` begins the thread.

    broken: called on the event loop if the thread dies; the process is of no use after that.
    """

    def __init__(
        self,
        runner: Runner | Device,
        tokenizer: Tokenizer,
        settings: EngineSettings,
        *,
        clock: Clock,
        randomness: Randomness,
        log: Log,
        metrics: EngineMetrics,
        broken: Callable[[], None],
    ) -> None:
        limits = BatchLimits(
            step_tokens_max=settings.step_tokens_max,
            sequences_max=settings.sequences_max,
            block_tokens=settings.block_tokens,
            chunk_tokens_max=settings.chunk_tokens_max,
            spare_blocks=int(settings.watermark * runner.block_count),
            reserves_prompts=settings.reserve_prompts,
            draft_tokens_max=settings.draft_tokens_max,
        )
        batch = Batch(BlockPool(runner.block_count), limits, prefix_cache=settings.prefix_cache)
        self._settings = settings
        self._vocabulary_size = tokenizer.vocabulary_size
        self._reports_logprobs = isinstance(runner, Reporter) and runner.reports_logprobs
        self._reports_prompts = isinstance(runner, PromptReader) and runner.reports_prompts
        self._end_ids = tokenizer.end_ids
        self.adapters = AdapterTable(
            runner if isinstance(runner, AdapterKeeper) else None,
            adapters_max=settings.adapters_max,
            rank_max=settings.adapter_rank_max,
        )
        self._masks_tokens = isinstance(runner, Masker) and runner.masks_tokens
        self._randomness = randomness
        self._clock = clock
        self._metrics = metrics
        # The newest token of a sequence needs no slot, hence the one.
        self.capacity_tokens = min(
            runner.context_tokens, settings.context_tokens_max, batch.capacity_tokens + 1
        )
        self._loop = StepLoop(
            runner,
            batch,
            tokenizer,
            clock=clock,
            log=log,
            metrics=metrics,
            ended=self._forget,
            broken=broken,
        )
        self._open: dict[int, tuple[GenerationRequest, float]] = {}
        self._open_tokens = 0
        self._average_seconds = RETRY_SECONDS_MIN
        self._next_id = 1
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self) -> None:
        self._loop.start()

    @property
    def open_count(self) -> int:
        """Generations that are waiting or running."""
        return len(self._open)

    def submit(
        self,
        prompt: list[int],
        sampling: SamplingParameters,
        *,
        salt: str = "",
        priority: int = 0,
        max_tokens_param: str = "max_tokens",
    ) -> Generation:
        """Queue a generation. Raises InvalidRequest or Unavailable when it is not let in."""
        request = self._check(prompt, sampling, salt, priority, max_tokens_param)
        self._check_room(1, len(prompt))
        return self._open_one(request, asyncio.Event())

    def submit_group(
        self,
        prompt: list[int],
        sampling: SamplingParameters,
        count: int,
        *,
        salt: str = "",
        priority: int = 0,
        max_tokens_param: str = "max_tokens",
        grammar: Grammar | None = None,
        before: Sequence[int] = (),
        tells_progress: bool = False,
        adapter: int = 0,
    ) -> GenerationGroup:
        """Queue several generations of one prompt: all are let in, or none.

        The others wait until the first one has computed the prompt, and share its blocks.
        before: tokens of the one answer that were generated elsewhere.
        """
        self._check_before(before, count)
        first = self._check(prompt, sampling, salt, priority, max_tokens_param)
        if count > self._settings.sequences_max:
            raise InvalidRequest(
                f"'n' is {count}; this model server runs at most {self._settings.sequences_max}.",
                param="n",
            )
        self._check_room(count, len(prompt) + len(before))
        if grammar is not None and sampling.allowed_tokens is not None:
            raise InvalidRequest(
                "An answer in a form cannot have 'allowed_token_ids' too.",
                param="allowed_token_ids",
            )
        first = replace(
            first,
            grammar=grammar,
            before=tuple(before),
            tells_progress=tells_progress,
            adapter=adapter,
        )
        if first.known_count > len(prompt) + first.tokens_max:
            raise InvalidRequest(
                f"{len(before)} tokens to continue are more than an answer to this may have.",
                param="continue_token_ids",
            )
        ready = asyncio.Event()
        leader = self._next_id
        requests = [first]
        for choice in range(1, count):
            seed = derive_seed(first.seed, choice)
            requests.append(replace(first, seed=seed, leader=leader))
        return GenerationGroup([self._open_one(one, ready) for one in requests], ready)

    def submit_embeddings(
        self, texts: list[list[int]], *, salt: str = "", priority: int = 0, adapter: int = 0
    ) -> GenerationGroup:
        """Queue texts whose vectors are wanted: all are let in, or none."""
        if not self._reports_prompts:
            raise InvalidRequest(
                "This model server does not make embeddings.",
                reason=Reason.UNSUPPORTED_PARAMETER,
                param="model",
            )
        most = self._settings.sequences_max + self._settings.queued_requests_max
        if len(texts) > most:
            raise InvalidRequest(
                f"'input' has {len(texts)} texts; this model server takes {most} at once.",
                param="input",
            )
        greedy = SamplingParameters(temperature=0.0, max_tokens=1)
        requests = [
            replace(
                self._check(text, greedy, salt, priority, "input"), embeds=True, adapter=adapter
            )
            for text in texts
        ]
        self._check_room(len(texts), sum(map(len, texts)))
        ready = asyncio.Event()
        return GenerationGroup([self._open_one(one, ready) for one in requests], ready)

    def _check(
        self,
        prompt: list[int],
        sampling: SamplingParameters,
        salt: str,
        priority: int,
        max_tokens_param: str,
    ) -> GenerationRequest:
        self._check_tokens(sampling)
        return GenerationRequest(
            prompt=tuple(prompt),
            sampling=sampling,
            seed=self._choose_seed(sampling.seed),
            tokens_max=self._check_fits(len(prompt), sampling.max_tokens, max_tokens_param),
            salt=salt,
            priority=priority,
        )

    def _open_one(self, request: GenerationRequest, ready: asyncio.Event) -> Generation:
        number = self._next_id
        self._next_id += 1
        generation = Generation(lambda: self._loop.abort(number), ready)
        self._open[number] = (request, self._clock.monotonic())
        self._open_tokens += request.known_count
        if request.adapter:
            self.adapters.take(request.adapter)
        self._idle.clear()
        self._loop.add(number, request, generation)
        return generation

    @property
    def masks_tokens(self) -> bool:
        """Whether answers can be held to a form."""
        return self._masks_tokens

    async def drain(self) -> None:
        """Let no one in any more, and wait until all that runs has ended."""
        self._draining = True
        await self._idle.wait()

    def stop(self) -> None:
        """Abort what runs and end the thread; blocks for up to one step."""
        self._draining = True
        self._loop.stop()

    def _check_fits(self, prompt: int, asked: int | None, param: str) -> int:
        capacity = self.capacity_tokens
        if prompt == 0:
            raise InvalidRequest("The prompt is empty.", param="prompt")
        if prompt >= capacity or (asked is not None and prompt + asked > capacity):
            wanted = f"{prompt} in the prompt"
            wanted += "" if asked is None else f" and {asked} for the answer"
            raise InvalidRequest(
                f"This model's context holds {capacity} tokens; the request has {wanted}.",
                reason=Reason.CONTEXT_LENGTH_EXCEEDED,
                param="messages" if prompt >= capacity else param,
            )
        return count_tokens_max(prompt, asked, capacity)

    def _check_tokens(self, sampling: SamplingParameters) -> None:
        """Token ids that the vocabulary does not have are a mistake, not a wish."""
        if sampling.report_top is not None and not self._reports_logprobs:
            raise InvalidRequest(
                "This model server does not report log probabilities.",
                reason=Reason.UNSUPPORTED_PARAMETER,
                param="logprobs",
            )
        if sampling.prompt_top is not None and not self._reports_prompts:
            raise InvalidRequest(
                "This model server does not report log probabilities of prompts.",
                reason=Reason.UNSUPPORTED_PARAMETER,
                param="prompt_logprobs",
            )
        self._check_vocabulary("allowed_token_ids", sampling.allowed_tokens or ())
        _check_allowed(sampling, self._end_ids)
        self._check_vocabulary("logit_bias", (token for token, _ in sampling.logit_bias))
        self._check_vocabulary("stop_token_ids", sampling.stop_token_ids)

    def _check_before(self, before: Sequence[int], count: int) -> None:
        if not before:
            return
        if count > 1:
            raise InvalidRequest(
                "One answer at a time can be continued; 'n' is more.", param="continue_token_ids"
            )
        self._check_vocabulary("continue_token_ids", before)

    def _check_vocabulary(self, name: str, tokens: Iterable[int]) -> None:
        size = self._vocabulary_size
        if any(not 0 <= token < size for token in tokens):
            raise InvalidRequest(
                f"'{name}' has a token that is not in the vocabulary of {size}.", param=name
            )

    def _check_room(self, count: int, prompt: int) -> None:
        if self._draining:
            self._metrics.rejected.labels(Reason.SHUTTING_DOWN.value).inc()
            raise Unavailable(
                "The model server is stopping.",
                reason=Reason.SHUTTING_DOWN,
                retry_after_seconds=RETRY_SECONDS_MIN,
            )
        waiting = len(self._open) + count - self._settings.sequences_max
        too_many = waiting > self._settings.queued_requests_max
        # An empty engine takes any prompt that fits its context.
        too_long = (
            len(self._open) > 0 and self._open_tokens + prompt > self._settings.queued_tokens_max
        )
        if too_many or too_long:
            self._metrics.rejected.labels(Reason.QUEUE_FULL.value).inc()
            raise Unavailable(
                f"{len(self._open)} requests with {self._open_tokens} prompt tokens are in "
                "progress or waiting; no more are taken in.",
                reason=Reason.QUEUE_FULL,
                retry_after_seconds=self._retry_after(waiting),
            )

    def _retry_after(self, waiting: int) -> float:
        estimate = self._average_seconds * max(waiting / self._settings.sequences_max, 0.5)
        return min(max(estimate, RETRY_SECONDS_MIN), RETRY_SECONDS_MAX)

    def _choose_seed(self, asked: int | None) -> int:
        if asked is not None:
            return asked
        return int.from_bytes(self._randomness.bytes(SEED_BYTES), "big", signed=True)

    def _forget(self, id: int) -> None:
        request, since = self._open.pop(id)
        self._open_tokens -= request.known_count
        if request.adapter:
            self.adapters.give_back(request.adapter)
        seconds = self._clock.monotonic() - since
        self._average_seconds += AVERAGE_WEIGHT * (seconds - self._average_seconds)
        if not self._open:
            self._idle.set()


def _check_allowed(sampling: SamplingParameters, ends: frozenset[int]) -> None:
    allowed = sampling.allowed_tokens
    if allowed and sampling.min_tokens and ends.union(sampling.stop_token_ids).issuperset(allowed):
        raise InvalidRequest(
            "'allowed_token_ids' has only ends, and 'min_tokens' forbids them.",
            param="allowed_token_ids",
        )
