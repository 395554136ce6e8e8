"""How busy a model server is, read from the metrics that it publishes.

Knows the names of vLLM, of our own engine, of SGLang and of llama.cpp; a server that has none of
them tells nothing.
"""

from dataclasses import dataclass, field

from tokenyard.vocabulary.load import Load

_MAKERS = ("vllm:", "sglang:", "llamacpp:", "tokenyard_engine_")
_RUNNING = ("num_requests_running", "num_running_reqs", "requests_processing")
_WAITING = ("num_requests_waiting", "num_queue_reqs", "requests_deferred")
_KV = ("kv_cache_usage_perc", "gpu_cache_usage_perc", "token_usage", "kv_cache_usage_ratio")
_PROMPT = ("prefix_cache_queries_total", "prompt_tokens_total")
_CACHED = ("prefix_cache_hits_total", "prompt_tokens_cached_total")
_FIRST = "time_to_first_token_seconds"


@dataclass(slots=True)
class LoadReader:
    """Turns one server's metrics into its load, look by look."""

    _sum: float = 0.0
    _count: float = 0.0
    _looked: bool = field(default=False)

    def read(self, text: str) -> Load | None:
        """The load that this text tells; None when it tells none."""
        values = _parse(text)
        running, waiting = _first_of(values, _RUNNING), _first_of(values, _WAITING)
        if running is None and waiting is None:
            return None
        total, count = values.get(f"{_FIRST}_sum", 0.0), values.get(f"{_FIRST}_count", 0.0)
        since, self._sum = total - self._sum, total
        new, self._count = count - self._count, count
        looked, self._looked = self._looked, True
        return Load(
            running=int(running or 0),
            waiting=int(waiting or 0),
            kv_share=_first_of(values, _KV) or 0.0,
            first_token_seconds=since / new if looked and new > 0 else 0.0,
            prefix_hit_share=_share(_first_of(values, _CACHED), _first_of(values, _PROMPT)),
        )


def _share(part: float | None, whole: float | None) -> float:
    return part / whole if part and whole else 0.0


def _parse(text: str) -> dict[str, float]:
    """Sums over labels, by the name without its maker's prefix; what is no number is left out.

    A server may tell the same under the names of two makers; the first of them counts.
    """
    values: dict[str, float] = {}
    makers: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("#") or not line:
            continue
        head, _, number = line.rpartition(" ")
        full = head.partition("{")[0]
        maker = next((one for one in _MAKERS if full.startswith(one)), "")
        name = full.removeprefix(maker)
        try:
            value = float(number)
        except ValueError:
            continue
        if makers.setdefault(name, maker) == maker:
            values[name] = values.get(name, 0.0) + value
    return values


def _first_of(values: dict[str, float], names: tuple[str, ...]) -> float | None:
    return next((values[name] for name in names if name in values), None)
