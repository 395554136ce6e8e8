"""Days in UTC as numbers, so that no database has to know a calendar."""

from datetime import date, timedelta

_SECONDS = 86_400
_EPOCH = date(1970, 1, 1)


def day_number(at: float) -> int:
    """Whole days since the Unix epoch at that time (Unix seconds)."""
    return int(at // _SECONDS)


def day_text(number: int) -> str:
    """The day as ISO 8601 has it: 0 is "1970-01-01"."""
    return (_EPOCH + timedelta(days=number)).isoformat()
