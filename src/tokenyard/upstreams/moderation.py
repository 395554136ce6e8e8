"""Whether what is asked may be answered: asks a server that speaks OpenAI's Moderations API.

Looks at texts before a generation and turns a flag into a named refusal. Does not judge by itself,
and does not know who asks.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec

from tokenyard.runtime.moderation_settings import ModerationSettings
from tokenyard.telemetry.logs import Event, Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.upstreams.http import HttpUpstream
from tokenyard.upstreams.ports import GenerationCall, GenerationPath
from tokenyard.vocabulary.errors import (
    InvalidRequest,
    TokenyardError,
    Unavailable,
    UpstreamFailed,
)
from tokenyard.vocabulary.reasons import Reason

_PATH = "/v1/moderations"
_LOOKED_AT = frozenset({"user", "tool"})
_RETRY_SECONDS = 2.0


class _Verdict(msgspec.Struct):
    flagged: bool
    categories: dict[str, bool | None] = {}


class _Verdicts(msgspec.Struct):
    results: list[_Verdict]


class Moderation:
    """One moderation server. http: how it is reached; owned by this."""

    def __init__(
        self,
        http: HttpUpstream,
        settings: ModerationSettings,
        *,
        metrics: GatewayMetrics,
        log: Log,
    ) -> None:
        self._http = http
        self._settings = settings
        self._outcomes = metrics.moderations
        self._log = log
        self._checks = settings.check == "input"

    async def ask(self, texts: Any, model: str | None) -> msgspec.Raw:
        """The server's answer as it came; raises what it refused, and UpstreamFailed."""
        asked = {"model": model or self._settings.model, "input": texts}
        try:
            async with asyncio.timeout(self._settings.seconds):
                return await self._http.fetch(_PATH, msgspec.Raw, asked)
        except TimeoutError:
            raise UpstreamFailed(
                "The moderation server did not answer in time.", reason=Reason.UPSTREAM_TIMEOUT
            ) from None

    async def check(self, call: GenerationCall) -> None:
        """Return if the call may be made; raises InvalidRequest(content_flagged), or Unavailable
        when that cannot be known and the setting says so.
        """
        if not self._checks or call.path is GenerationPath.EMBEDDINGS:
            return
        tree: dict[str, Any] = msgspec.json.decode(call.body)
        param = "messages" if "messages" in tree else "prompt"
        texts = list(_texts_of(tree))[-self._settings.turns_max :]
        if not texts:
            return
        try:
            verdicts = msgspec.json.decode(await self.ask(texts, None), type=_Verdicts)
        except (TokenyardError, msgspec.MsgspecError) as error:
            self._pass_or_refuse(error)
            return
        flags = [verdict for verdict in verdicts.results if verdict.flagged]
        self._outcomes.labels("flagged" if flags else "passed").inc()
        if flags:
            names = sorted({name for flag in flags for name, hit in flag.categories.items() if hit})
            raise InvalidRequest(
                "This was flagged by the moderation model"
                + (f": {', '.join(names)}." if names else "."),
                reason=Reason.CONTENT_FLAGGED,
                param=param,
            )

    async def close(self) -> None:
        """Give back connections."""
        await self._http.close()

    def _pass_or_refuse(self, error: Exception) -> None:
        self._outcomes.labels("unchecked").inc()
        self._log.warning(Event.MODERATION_AWAY, rule=self._settings.away)
        if self._settings.away == "closed":
            raise Unavailable(
                "The moderation server does not answer, and nothing is generated unchecked here.",
                reason=Reason.MODERATION_UNAVAILABLE,
                retry_after_seconds=_RETRY_SECONDS,
            ) from error


def _texts_of(tree: dict[str, Any]) -> Iterator[str]:
    """What users and tools say; raises InvalidRequest for a prompt that nobody can read."""
    prompt = tree.get("prompt")
    if isinstance(prompt, str):
        yield prompt
    elif prompt is not None:
        raise InvalidRequest(
            "A prompt of token ids cannot be checked; send it as text.",
            reason=Reason.UNSUPPORTED_PARAMETER,
            param="prompt",
        )
    for message in tree.get("messages") or ():
        if message.get("role") not in _LOOKED_AT:
            continue
        content = message.get("content") or ""
        parts = [{"text": content}] if isinstance(content, str) else content
        text = "".join(part.get("text") or "" for part in parts)
        if text:
            yield text
