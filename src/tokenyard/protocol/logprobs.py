"""Log probabilities on the wire: of answers in both forms, and of prompts."""

import msgspec


class PromptLogprob(msgspec.Struct, kw_only=True):
    """vLLM's extension: a token at one place of the prompt. rank: 1 for the likeliest."""

    logprob: float
    rank: int
    decoded_token: str


# By place in the prompt, then by token id; the first token has none.
PromptLogprobs = list[dict[str, PromptLogprob] | None]


class LikelyToken(msgspec.Struct, kw_only=True):
    """One of the tokens that could have been drawn."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class TokenLogprob(LikelyToken, kw_only=True):
    """A token of the answer with those that could have been in its place."""

    top_logprobs: list[LikelyToken]


class ChatLogprobs(msgspec.Struct, kw_only=True):
    """Log probabilities of an answer's tokens, or of those that one chunk adds."""

    content: list[TokenLogprob] | None
    refusal: None = None


class TextLogprobs(msgspec.Struct, kw_only=True):
    """The same in the form of the older Completions: lists side by side, one entry a token."""

    tokens: list[str]
    # The first token of a text that is told whole has none.
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]
