"""What was sent over a WebSocket and is not acknowledged yet: when to stop, what an ack means.

Knows numbers and sizes. Acks are cumulative, so that a lost one, or one that comes late, does no
harm; one beyond what was sent is refused.
"""

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class Unacked:
    """The window of one stream."""

    events_max: int
    bytes_max: int
    _sent: int = -1
    _bytes: int = 0
    # Number, size and time of each event, the oldest first.
    _waiting: deque[tuple[int, int, float]] = field(default_factory=deque)

    @property
    def full(self) -> bool:
        """Whether nothing more may be sent before an ack comes."""
        return len(self._waiting) >= self.events_max or self._bytes >= self.bytes_max

    @property
    def since(self) -> float | None:
        """When the oldest event was sent that has no ack; None when there is none."""
        return self._waiting[0][2] if self._waiting else None

    def push(self, sequence: int, size: int, now: float) -> None:
        """One event was sent."""
        self._waiting.append((sequence, size, now))
        self._sent = max(self._sent, sequence)
        self._bytes += size

    def take(self, sequence: int) -> bool:
        """Everything up to `sequence` has arrived; False when that was never sent."""
        if sequence > self._sent:
            return False
        while self._waiting and self._waiting[0][0] <= sequence:
            self._bytes -= self._waiting.popleft()[1]
        return True
