"""What a generation is asked for and how it ended."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class FinishReason(StrEnum):
    """Why a generation ended. The first two are OpenAI's; the others are never a success."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the engine counted them; the ledger bills these and nothing else.

    `cached_tokens` is the part of `prompt_tokens` that came from the prefix cache, and
    `reasoning_tokens` the part of `completion_tokens` that the client does not see as text.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast an answer came, in milliseconds since it was asked for.

    queue_ms: of the first token's time, how long the model server let it wait; None where the
    server does not tell.
    """

    first_token_ms: float
    total_ms: float
    queue_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """Functions that a model may call, as Chat Completions spells them, and the choice among them.

    Empty where it is offered nothing.
    """

    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: str | dict[str, Any] | None = None


NO_OFFER = Offer()


@dataclass(frozen=True, slots=True)
class SamplingParameters:
    """How the next token is drawn. Ranges are checked where a request is parsed, not here.

    temperature: 0 means greedy. top_p: in (0, 1]. top_k: 0 means all tokens.
    seed: together with the position it alone decides each random draw.
    max_tokens: None means as many as the context holds.
    stop: texts that end the answer and are not part of it; stop_token_ids: tokens that do the same.
    min_p: drops tokens less likely than this part of the likeliest; 0 drops none.
    frequency_penalty, presence_penalty: OpenAI's, over the answer; repetition_penalty: a factor,
    over prompt and answer. logit_bias: (token id, what is added to its logit).
    min_tokens: the answer does not end on its own before it has so many.
    report_top: tokens to report the log probability of, beside each drawn one; None for no report.
    prompt_top: the same for each token of the prompt. allowed_tokens: None allows all.
    bad_words: texts that the answer does not contain. shows_stop: the text that ended the answer is
    part of it. shows_specials: control tokens show their names.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    min_tokens: int = 0
    report_top: int | None = None
    prompt_top: int | None = None
    allowed_tokens: tuple[int, ...] | None = None
    bad_words: tuple[str, ...] = ()
    shows_stop: bool = False
    shows_specials: bool = False
