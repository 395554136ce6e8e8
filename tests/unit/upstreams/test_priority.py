"""What a line of a batch adds to a call: a long wait goes on, a priority only where it is known."""

import json
from typing import Any

import pytest

from tokenyard.protocol.models import SamplingDefaults
from tokenyard.runtime.clock import SimulatedClock
from tokenyard.runtime.settings import UpstreamSettings
from tokenyard.upstreams.dialects import Dialect, translate
from tokenyard.upstreams.foreign import ForeignUpstream
from tokenyard.upstreams.ports import GenerationCall, GenerationPath

ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": 'a "priority"'}]}


@pytest.mark.parametrize("dialect", [Dialect.OPENAI, Dialect.VLLM])
@pytest.mark.parametrize("told", [{"priority": 100}, {"priority": 0}, {}])
def test_a_priority_goes_no_further(dialect: Dialect, told: dict[str, int]) -> None:
    body = json.dumps({**ASK, **told}).encode()
    call = GenerationCall(GenerationPath.CHAT, body, "req_1")
    assert json.loads(translate(call, dialect, SamplingDefaults())) == ASK


@pytest.mark.parametrize("dialect", Dialect)
async def test_the_wait_that_a_call_allows_is_kept(
    monkeypatch: pytest.MonkeyPatch, dialect: Dialect
) -> None:
    upstream = ForeignUpstream(
        "http://127.0.0.1:1", UpstreamSettings(), dialect=dialect, clock=SimulatedClock()
    )
    seen: list[float | None] = []

    async def complete(call: GenerationCall) -> bytes:
        seen.append(call.seconds_max)
        return json.dumps({"choices": []}).encode()

    monkeypatch.setattr(upstream._http, "complete", complete)
    body = json.dumps(ASK).encode()
    await upstream.complete(GenerationCall(GenerationPath.CHAT, body, "req_1", seconds_max=77.0))
    await upstream.close()
    assert seen == [77.0]
