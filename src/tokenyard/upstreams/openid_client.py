"""Fetches what an OpenID Connect provider says: its description, its keys, and tokens for codes.

It lives here because HTTP clients do. Believes nothing: what comes back is checked by
`gateway.openid`. Redirects are not followed, and answers are bounded in time and length.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from tokenyard.vocabulary.errors import UpstreamFailed

_ANSWER_BYTES_MAX = 1024 * 1024


class OpenIdClient:
    """Speaks to providers; raises UpstreamFailed for whatever is not a JSON object in time."""

    def __init__(self, seconds_max: float) -> None:
        self._timeout = aiohttp.ClientTimeout(total=seconds_max)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, url: str) -> dict[str, Any]:
        """The JSON object at that address."""
        return await self._ask("GET", url)

    async def post(
        self, url: str, fields: Mapping[str, str], *, basic: tuple[str, str] | None
    ) -> dict[str, Any]:
        """The JSON object that a form is answered with; `basic`: a name and a secret."""
        auth = None if basic is None else aiohttp.BasicAuth(*basic)
        return await self._ask("POST", url, data=dict(fields), auth=auth)

    async def _ask(self, method: str, url: str, **more: Any) -> dict[str, Any]:
        if self._session is None:
            # Made when it is first needed: most installations have no provider.
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        try:
            async with self._session.request(
                method, url, allow_redirects=False, headers={"accept": "application/json"}, **more
            ) as answer:
                body = await answer.content.read(_ANSWER_BYTES_MAX)
                if answer.status != 200:
                    raise UpstreamFailed(
                        f"The sign-in provider answered with status {answer.status}."
                    )
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UpstreamFailed("The sign-in provider cannot be reached.") from error
        try:
            told = msgspec.json.decode(body)
        except msgspec.DecodeError:
            told = None
        if not isinstance(told, dict):
            raise UpstreamFailed("The sign-in provider did not answer with a JSON object.")
        return told
