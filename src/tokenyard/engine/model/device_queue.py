"""How work gets to a device and when it is over: a stream of a GPU, or a queue that plays one.

Work is taken in at once and done in order, at some time before somebody waits for it. `HostQueue`
plays this on the CPU at both extremes: who reads a result or reuses a buffer too early finds old
values when it is late, and who fetches a result too late finds new ones when it is early.
Does not know what the work is.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

Work = Callable[[], None]


class DeviceQueue(Protocol):
    """Used from one thread."""

    def host_buffer(self, *shape: int, dtype: torch.dtype) -> Tensor:
        """Host memory that the device can copy from and to while the host goes on."""
        ...

    def submit(self, work: Work) -> None:
        """Do this after all before it."""
        ...

    def mark(self) -> Any:
        """A point in the queue: after all submitted so far."""
        ...

    def wait(self, mark: Any) -> None:
        """Return when all before the mark is done; raises what went wrong."""
        ...

    def capture(self, work: Work) -> Work:
        """The same work, faster to submit; it must always touch the same memory."""
        ...


class CudaQueue:
    """The current stream of the GPU. Captured work is a CUDA graph; all graphs share memory."""

    def __init__(self) -> None:
        self._memory: Any = None

    def host_buffer(self, *shape: int, dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype, pin_memory=True)

    def submit(self, work: Work) -> None:
        work()

    def mark(self) -> Any:
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        return event

    def wait(self, mark: Any) -> None:
        mark.synchronize()

    def capture(self, work: Work) -> Work:
        """Runs the work first: libraries and kernels must have had their first time."""
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            work()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._memory):
            work()
        if self._memory is None:
            self._memory = graph.pool()
        return graph.replay


class HostQueue:
    """A device on the CPU. late: does nothing before it is waited for; else all at once."""

    def __init__(self, *, late: bool) -> None:
        self._late = late
        self._waiting: deque[tuple[int, Work]] = deque()
        self._submitted = 0

    def host_buffer(self, *shape: int, dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype)

    def submit(self, work: Work) -> None:
        self._submitted += 1
        self._waiting.append((self._submitted, work))
        if not self._late:
            self.wait(self._submitted)

    def mark(self) -> int:
        return self._submitted

    def wait(self, mark: Any) -> None:
        with torch.inference_mode():
            while self._waiting and self._waiting[0][0] <= mark:
                self._waiting.popleft()[1]()

    def capture(self, work: Work) -> Work:
        return work
