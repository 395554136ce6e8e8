"""Sends notices to addresses that callers gave, if the operator allows the host.

A notice that is not taken is sent again, each wait longer than the last, a few times. Redirects
are not followed, and a name that comes to mean this machine is not asked. With a secret each of
them is signed, so that the receiver knows whom it is from. Decides nothing about who is told what.

Source of the headers: the Standard Webhooks specification, version 1 of its symmetric signature.
"""

import base64
import binascii
import hashlib
import hmac
from urllib.parse import urlsplit

import aiohttp

from tokenyard.runtime.clock import Clock
from tokenyard.runtime.ledger_settings import LedgerSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Event, Log
from tokenyard.upstreams.addresses import connector_options
from tokenyard.vocabulary.errors import InvalidRequest

_ANSWER_SECONDS = 10.0
_WAIT_SECONDS = 1.0
_SENDING_MAX = 100
_SECRET_PREFIX = "whsec_"


def check_webhook(url: str, hosts: tuple[str, ...]) -> None:
    """Raise InvalidRequest for an address that notices may not be sent to; empty is none."""
    if not url:
        return
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.username is not None:
        raise InvalidRequest("A webhook is an http or https address.", param="webhook")
    if parts.netloc not in hosts:
        raise InvalidRequest(
            f"The operator does not allow webhooks to {parts.netloc!r} (ledger.webhook_hosts).",
            param="webhook",
        )


def sign(name: str, at: int, body: bytes, secret: bytes) -> dict[str, str]:
    """The headers by which a receiver tells a notice from a forgery or a repetition."""
    told = {"webhook-id": name, "webhook-timestamp": str(at)}
    if not secret:
        return told
    signed = f"{name}.{at}.".encode() + body
    digest = hmac.new(secret, signed, hashlib.sha256).digest()
    return {**told, "webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}


def read_secret(text: str) -> bytes:
    """The bytes of a secret: base64 after `whsec_`, or else its own; raises ValueError."""
    if not text.startswith(_SECRET_PREFIX):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix(_SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"what follows {_SECRET_PREFIX} is not base64") from None


class Webhooks:
    """Notices on their way. secret: what they are signed with; empty signs nothing."""

    def __init__(
        self,
        settings: LedgerSettings,
        *,
        tasks: TaskSupervisor,
        clock: Clock,
        log: Log,
        secret: bytes = b"",
    ) -> None:
        self._hosts = settings.webhook_hosts
        self._attempts_max = settings.webhook_attempts_max
        self._secret = secret
        self._tasks = tasks
        self._clock = clock
        self._log = log
        self._sending = 0
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, name: str, body: bytes) -> None:
        """Begin to send a notice and return at once; nothing happens without an address.

        name: the same however often it is sent, so that the receiver can tell a repetition.
        """
        if not url:
            return
        if self._sending >= _SENDING_MAX:
            self._log.error(Event.WEBHOOK_FAILED, notice=name, attempts=0)
            return
        self._sending += 1
        self._tasks.spawn(f"webhook {name}", self._send(url, name, body))

    async def close(self) -> None:
        """Give back connections."""
        if self._session is not None:
            await self._session.close()

    async def _send(self, url: str, name: str, body: bytes) -> None:
        attempts = 0
        try:
            # What was allowed when it was stored may no longer be.
            check_webhook(url, self._hosts)
            while attempts < self._attempts_max:
                if attempts:
                    await self._clock.sleep(_WAIT_SECONDS * 2 ** (attempts - 1))
                attempts += 1
                if await self._try(url, name, body):
                    return
            self._log.error(Event.WEBHOOK_FAILED, notice=name, attempts=attempts)
        except InvalidRequest:
            self._log.error(Event.WEBHOOK_FAILED, notice=name, attempts=attempts)
        finally:
            self._sending -= 1

    async def _try(self, url: str, name: str, body: bytes) -> bool:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
            connector = aiohttp.TCPConnector(**connector_options(self._hosts))
            self._session = aiohttp.ClientSession(timeout=timeout, connector=connector)
        headers = {
            "content-type": "application/json",
            "idempotency-key": name,
            **sign(name, int(self._clock.now()), body, self._secret),
        }
        try:
            async with self._session.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                return answer.status < 300
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False
