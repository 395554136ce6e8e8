"""Limits as words: at which level, of what, in which time; what is asked of one, and its answer."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from tokenyard.vocabulary.ids import LimitId, OrganisationId


class Level(StrEnum):
    """Who shares a limit."""

    KEY = "key"
    USER = "user"
    PROJECT = "project"
    ORGANISATION = "organisation"
    MODEL = "model"
    SYSTEM = "system"


class Measure(StrEnum):
    """What is limited. Spend is in nano-units; streams are answers in progress."""

    REQUESTS = "requests"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    STREAMS = "streams"
    SPEND = "spend"


class Window(StrEnum):
    """In which time: a minute that slides, a calendar day in UTC, or this moment (streams)."""

    MINUTE = "minute"
    DAY = "day"
    NOW = "now"


# The subject of a limit that holds for everybody of its level who has none of their own.
EACH = "*"


@dataclass(frozen=True, slots=True)
class Limit:
    """So much of that, in that time.

    burst: of a minute's limit, how much may come at once; in any t seconds at most
    `burst + amount * t / 60` comes through. closed: whether requests are refused while the store
    of the counts is away; if not, each process counts by itself meanwhile.
    """

    level: Level
    subject: str
    measure: Measure
    window: Window
    amount: int
    burst: int = 0
    closed: bool = False
    id: LimitId | None = None
    # The tenant that it belongs to; None for limits of the operator.
    organisation: OrganisationId | None = None

    @property
    def name(self) -> str:
        """What a denial calls it, such as `project.input_tokens.minute`."""
        return f"{self.level}.{self.measure}.{self.window}"

    @property
    def capacity(self) -> int:
        """The most that can come at once."""
        return self.burst or self.amount if self.window is Window.MINUTE else self.amount


# Tuples, since several of each are made for every request.
class Demand(NamedTuple):
    """What one request asks of one limit, in the bucket of its subject."""

    limit: Limit
    bucket: str
    amount: int


class Grant(NamedTuple):
    """What is left of a limit after a request was let through."""

    remaining: int
    # Until all of it is there again.
    reset_seconds: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """The first demand that cannot be met; nothing was taken of any."""

    place: int
    # None when it can never be met: it asks for more than comes at once.
    wait_seconds: float | None
    remaining: int
