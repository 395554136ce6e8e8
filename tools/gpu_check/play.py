"""Texts made through the planner and the device's runner, as the engine's loop makes them."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

from tokenyard.engine.model.device_runner import DeviceRunner, Ticket
from tokenyard.engine.rules.batching import (
    UNKNOWN,
    Batch,
    BatchLimits,
    Chunk,
    SequenceState,
    StepPlan,
)
from tokenyard.engine.rules.batching import Sequence as Text
from tokenyard.engine.rules.drawing import DrawRule
from tokenyard.engine.rules.paging import BlockPool


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt, and how many tokens are to follow it."""

    prompt: tuple[int, ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class Played:
    """texts: prompt and answer of each request."""

    texts: list[list[int]]
    seconds: float
    steps: int
    preemptions: int


def play(
    runner: DeviceRunner,
    requests: Sequence[Request],
    limits: BatchLimits,
    *,
    blocks: int | None = None,
    temperature: float = 0.0,
    expired: Callable[[], bool] = lambda: False,
) -> Played:
    """All requests at once, ends ignored. Raises TimeoutError when `expired` says so."""
    batch = Batch(BlockPool(blocks or runner.block_count), limits, prefix_cache=False)
    texts = [
        Text(number, list(one.prompt), full_count=len(one.prompt) + one.tokens)
        for number, one in enumerate(requests)
    ]
    for text in texts:
        batch.add(text)
    flights: deque[tuple[StepPlan, Ticket]] = deque()
    steps, started = 0, perf_counter()
    while batch.running or batch.waiting or flights:
        if expired():
            raise TimeoutError("the time for this phase is over")
        plan = batch.plan_step()
        if plan.chunks:
            rules = {
                one.sequence.id: DrawRule(temperature, 1.0, 0, 0, len(one.sequence.tokens))
                for one in plan.chunks
            }
            flights.append((plan, runner.launch(plan.chunks, rules)))
            batch.advance(plan)
            steps += 1
        while len(flights) > (runner.lag if plan.chunks else 0):
            _land(batch, runner, *flights.popleft())
    seconds = perf_counter() - started
    batch.pool.check_integrity()
    return Played(
        [text.tokens for text in texts], seconds, steps, sum(text.preemptions for text in texts)
    )


def _land(batch: Batch, runner: DeviceRunner, plan: StepPlan, ticket: Ticket) -> None:
    drawn = runner.collect(ticket)
    broken = [number for number, token in drawn.items() if token is None]
    if broken:
        raise ValueError(f"logits of {len(broken)} texts are not numbers")
    batch.learn(plan, {number: token for number, token in drawn.items() if token is not None})
    for chunk in plan.chunks:
        text = chunk.sequence
        if not text.unknown and len(text.tokens) == text.full_count:
            batch.end(text)


def decode(
    runner: DeviceRunner, lengths: Sequence[int], block_tokens: int, *, steps: int, warm: int
) -> float:
    """Seconds of a step that decodes texts of these lengths, launched one step ahead.

    The texts' keys and values are whatever the pool holds. The first `warm` steps are not counted.
    """
    needed = -(-(max(lengths) + warm + steps + 1) // block_tokens)
    texts = [
        Text(
            number,
            [1] * length,
            state=SequenceState.RUNNING,
            computed=length - 1,
            blocks=list(range(1 + number * needed, 1 + (number + 1) * needed)),
        )
        for number, length in enumerate(lengths)
    ]
    rules = {text.id: DrawRule(0.0, 1.0, 0, 0, 0) for text in texts}
    started, flight = 0.0, None
    for step in range(warm + steps):
        if step == warm:
            if flight is not None:
                runner.collect(flight)
            flight, started = None, perf_counter()
        chunks = [Chunk(text, len(text.tokens) - 1, 1, draws=True) for text in texts]
        before, flight = flight, runner.launch(chunks, rules)
        for text in texts:
            text.tokens.append(UNKNOWN)
        if before is not None:
            runner.collect(before)
    if flight is not None:
        runner.collect(flight)
    for text in texts:
        text.state = SequenceState.ENDED
    return (perf_counter() - started) / steps
