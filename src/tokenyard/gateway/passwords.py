"""Passwords: hashed and checked with argon2id, few at a time, beside the event loop.

A check takes memory and tens of milliseconds on purpose; how many run and wait is bounded, so that
a flood of attempts cannot starve answers. Guessing is slowed by `rules.attempts`; the counts are of
this process. Source: RFC 9106; OWASP Password Storage Cheat Sheet.
"""

import asyncio
import ipaddress
import math
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from tokenyard.gateway.rules.attempts import (
    Failures,
    Patience,
    add_failure,
    wait_seconds,
)
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.identity_settings import IdentitySettings
from tokenyard.vocabulary.errors import InvalidRequest, LimitReached, Unauthenticated, Unavailable
from tokenyard.vocabulary.reasons import Reason

PASSWORD_CHARACTERS_MAX = 256
_HERE = Patience(free=5)
_PLACE = Patience(free=30)
_REMEMBERED_MAX = 50_000
_RETRY_SECONDS = 1.0


class Passwords:
    """Makes and checks the hashes of passwords."""

    def __init__(self, settings: IdentitySettings, *, clock: Clock) -> None:
        self._length_min = settings.password_length_min
        self._hasher = PasswordHasher(
            time_cost=settings.password_rounds,
            memory_cost=settings.password_memory_kib,
            parallelism=1,
        )
        self._clock = clock
        self._places = asyncio.Semaphore(settings.password_checks_max)
        self._waiting_max = settings.password_checks_waiting_max
        self._waiting = 0
        # Checked against when there is no such account, so that both take the same time.
        self._decoy: str | None = None
        self._failures: OrderedDict[tuple[str, str], Failures] = OrderedDict()

    async def hash(self, password: str, *, beside: str = "") -> str:
        """The hash of a new password; raises InvalidRequest for one that is too easy.

        beside: the address of its owner, which it must not be.
        """
        if not self._length_min <= len(password) <= PASSWORD_CHARACTERS_MAX:
            raise InvalidRequest(
                f"A password has {self._length_min} to {PASSWORD_CHARACTERS_MAX} characters.",
                param="password",
            )
        if len(set(password)) < 4 or password.lower() in (beside.lower(), beside.partition("@")[0]):
            raise InvalidRequest("That password is too easy to guess.", param="password")
        async with self._place():
            return await asyncio.to_thread(self._hasher.hash, password)

    async def check(
        self, password: str, password_hash: str | None, *, account: str, place: str
    ) -> None:
        """Raises Unauthenticated for a wrong one, and LimitReached for too many of them.

        password_hash: None when there is no such account, which is not told. account, place: who is
        meant, and where the attempt comes from.
        """
        place = _widen(place)
        here, now = (account, place), self._clock.now()
        wait = max(
            wait_seconds(self._failures.get(here), now, _HERE),
            wait_seconds(self._failures.get(("", place)), now, _PLACE),
        )
        if wait > 0:
            raise LimitReached(
                f"Too many wrong passwords from here. Try again in {math.ceil(wait)} s.",
                reason=Reason.SIGN_IN_LIMIT,
                retry_after_seconds=wait,
            )
        # Counted before the check, so that many attempts at once do not all come first.
        before = self._failures.get(("", place))
        self._count(here, now, _HERE)
        self._count(("", place), now, _PLACE)
        if await self._fits(password, password_hash):
            self._failures.pop(here, None)
            self._take_back(("", place), before)
            return
        raise Unauthenticated(
            "There is no account with that address and password.", reason=Reason.WRONG_PASSWORD
        )

    def _take_back(self, whose: tuple[str, str], before: Failures | None) -> None:
        """Uncount one attempt: who has an account here is not forgiven the guesses at others."""
        held = self._failures.get(whose)
        if held is None or held.count <= 1:
            self._failures.pop(whose, None)
        else:
            last_at = held.last_at if before is None else before.last_at
            self._failures[whose] = Failures(held.count - 1, last_at)

    async def _fits(self, password: str, password_hash: str | None) -> bool:
        async with self._place():
            if self._decoy is None:
                self._decoy = await asyncio.to_thread(self._hasher.hash, "nobody's")
            against = password_hash or self._decoy
            fits = await asyncio.to_thread(self._verify, against, password)
        return fits and password_hash is not None

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    def _count(self, whose: tuple[str, str], now: float, patience: Patience) -> None:
        self._failures[whose] = add_failure(self._failures.pop(whose, None), now, patience)
        if len(self._failures) > _REMEMBERED_MAX:
            self._failures.popitem(last=False)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """A place among the checks; raises Unavailable when too many wait for one."""
        if self._waiting >= self._waiting_max:
            raise Unavailable(
                "Too many sign-ins at once.",
                reason=Reason.QUEUE_FULL,
                retry_after_seconds=_RETRY_SECONDS,
            )
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._places.release()


def _widen(address: str) -> str:
    """Where an attempt comes from: an IPv6 host has the whole of its /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))
