"""A model without weights: it says a fixed text, token by token, and ends.

For tests of all that is around a model, here and in the rooms above; it needs no torch.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tokenyard.engine.ports import Draws, PromptReports
from tokenyard.engine.rules.batching import Chunk
from tokenyard.engine.rules.batching import Sequence as Text
from tokenyard.engine.rules.drawing import DrawRule, TokenReport
from tokenyard.vocabulary.errors import StartError

NextToken = Callable[[Text, DrawRule], int | None]


class ScriptedRunner:
    """Keeps the Runner port. `next_token` names the token that follows a sequence.

    Asked for reports, it is sure of each token. Where its token is not allowed, it says the first
    one that is.
    """

    reports_logprobs = True
    reports_prompts = True
    masks_tokens = True

    def __init__(
        self,
        next_token: NextToken,
        *,
        block_count: int = 256,
        context_tokens: int = 2048,
        before_step: Callable[[Sequence[Chunk]], None] | None = None,
    ) -> None:
        self._next_token = next_token
        self._before_step = before_step
        self.block_count = block_count
        self.context_tokens = context_tokens
        self.steps = 0
        # By number, the folders of the adapters that are loaded.
        self.adapters: dict[int, Path] = {}

    def load_adapter(self, number: int, path: Path, *, rank_max: int) -> None:
        if not path.is_dir():
            raise StartError(f"{path} is not a folder.")
        self.adapters[number] = path

    def drop_adapter(self, number: int) -> None:
        del self.adapters[number]

    def run(self, chunks: Sequence[Chunk], rules: Mapping[int, DrawRule]) -> Draws:
        self.steps += 1
        if self._before_step is not None:
            self._before_step(chunks)
        drawn = {
            chunk.sequence.id: _allow(
                self._next_token(chunk.sequence, rules[chunk.sequence.id]),
                rules[chunk.sequence.id].allowed,
            )
            for chunk in chunks
            if chunk.draws
        }
        reports = {}
        for number, token in drawn.items():
            top = rules[number].report_top
            if token is not None and top is not None:
                reports[number] = TokenReport(token, 0.0, ((token, 0.0),)[:top])
        prompts = {
            chunk.sequence.id: _report_prompt(chunk)
            for chunk in chunks
            if chunk.sequence.prompt_top is not None
        }
        sums = {
            # As if the model made of each token its number, and 1.
            chunk.sequence.id: [
                float(sum(chunk.sequence.tokens[chunk.start : chunk.start + chunk.count])),
                float(chunk.count),
            ]
            for chunk in chunks
            if chunk.sequence.embeds
        }
        return Draws(drawn, reports, prompts, sums)


def _report_prompt(chunk: Chunk) -> PromptReports:
    text, end = chunk.sequence, chunk.start + chunk.count
    known = text.tokens[chunk.start + 1 : min(end + 1, text.prompt_count)]
    top = text.prompt_top or 0
    return chunk.start + 1, [TokenReport(one, 0.0, ((one, 0.0),)[:top], 1) for one in known]


def _allow(token: int | None, allowed: bytes | None) -> int | None:
    if allowed is None or token is None or allowed[token // 8] >> token % 8 & 1:
        return token
    place = next(place for place, byte in enumerate(allowed) if byte)
    return place * 8 + (allowed[place] & -allowed[place]).bit_length() - 1


def say(answer: Sequence[int], end: int) -> NextToken:
    """The tokens of `answer` in order after any prompt, then `end`."""

    def next_token(text: Text, rule: DrawRule) -> int:
        place = len(text.tokens) - text.prompt_count
        return answer[place] if place < len(answer) else end

    return next_token
