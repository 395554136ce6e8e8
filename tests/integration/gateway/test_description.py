"""The whole OpenAPI description against the gateway, by schemathesis: what it says is what happens.

Requests that fit the description and requests that do not: none of them breaks the gateway, each
status is one that the description names, and each body has the shape that it gives.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from support.asgi import Answer, AsgiClient
from support.tenants import CHEAP
from support.yards import FakeYard, open_fake_yard
from tokenyard.runtime.limit_settings import LimitSettings
from tokenyard.runtime.settings import Settings

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
# The only 5xx that is an answer and not a fault.
NOT_NOW = 503
SECONDS_MAX = 10.0
EXAMPLES = 3
# Requests of these take seconds to make, by the size of a job file.
LARGE = {"submitJob", "checkJobFile"}
HEADERS = ["authorization", "cookie", "content-type", "content-length", "last-event-id", "origin"]
HEADERS += ["host", "accept", "x-request-id", "idempotency-key", "range", "x-forwarded-for"]
BOUNDS = settings(
    max_examples=EXAMPLES,
    database=None,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class Bench:
    """A gateway that answers one request at a time, called from plain functions."""

    def __init__(self, runner: asyncio.Runner, yard: FakeYard) -> None:
        self._runner = runner
        self.yard = yard
        loaded: Any = schemathesis.openapi.from_dict(yard.gateway.document)
        self.operations = {
            operation.definition.raw["operationId"]: operation
            for operation in (result.ok() for result in loaded.get_all_operations())
        }

    def call(
        self, client: AsgiClient, method: str, target: str, body: bytes, headers: dict[str, str]
    ) -> Answer:
        async def bounded() -> Answer:
            call = client.open(method, target, body=body, headers=headers)
            return await asyncio.wait_for(call.finish(), SECONDS_MAX)

        return self._runner.run(bounded())


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    wide = LimitSettings(requests_per_minute=10**6, requests_burst=10**6)
    with asyncio.Runner() as runner:
        opened = open_fake_yard(Settings(identity=CHEAP, limits=wide))
        yard = runner.run(opened.__aenter__())
        yield Bench(runner, yard)
        runner.run(opened.__aexit__(None, None, None))


def cases() -> list[tuple[str, GenerationMode]]:
    """Requests that fit for all; those that do not where there is a body to get wrong."""

    async def read() -> list[tuple[str, GenerationMode]]:
        async with open_fake_yard() as yard:
            found = yard.gateway.operations
            fitting = [(operation.name, GenerationMode.POSITIVE) for operation in found]
            wrong = [
                (operation.name, GenerationMode.NEGATIVE)
                for operation in found
                if operation.request is not None and operation.name not in LARGE
            ]
            return fitting + wrong

    return asyncio.run(read())


@pytest.mark.parametrize(("name", "mode"), cases())
def test_what_the_description_says_is_what_happens(
    bench: Bench, name: str, mode: GenerationMode
) -> None:
    @BOUNDS
    @given(bench.operations[name].as_strategy(generation_mode=mode))
    def run(case: Any) -> None:
        case.headers = {**(case.headers or {}), "authorization": f"Bearer {bench.yard.key}"}
        case.cookies = {}
        told = case.as_transport_kwargs(base_url="http://yard.test")
        told["headers"] = {key: value for key, value in told["headers"].items() if value}
        try:
            sent = requests.Request(
                **{key: value for key, value in told.items() if key in _OF_A_REQUEST}
            ).prepare()
        except (requests.exceptions.RequestException, UnicodeError):
            return  # No client could send it.
        body: Any = sent.body.encode() if isinstance(sent.body, str) else sent.body or b""
        headers = {key.lower(): str(value) for key, value in sent.headers.items()}
        answer = bench.call(bench.yard.stranger, str(sent.method), sent.path_url, body, headers)
        assert answer.status < 500 or answer.status == NOT_NOW, (sent.path_url, body, answer.body)
        case.validate_response(_as_response(answer, sent), checks=CHECKS)

    try:
        run()
    except Exception as error:
        # Where nothing can be made that does not fit, there is nothing to try.
        if type(error).__name__ not in {"Unsatisfiable", "InvalidArgument"}:
            raise


_OF_A_REQUEST = {"method", "url", "headers", "params", "data", "json", "cookies", "files"}


def _as_response(answer: Answer, sent: requests.PreparedRequest) -> Response:
    return Response(
        status_code=answer.status,
        headers={name: [value] for name, value in answer.headers.items()},
        content=answer.body,
        request=sent,
        elapsed=0.1,
        verify=False,
    )


@settings(max_examples=60, database=None, deadline=None, derandomize=True)
@given(data=st.data())
def test_no_bytes_and_no_headers_break_a_route(bench: Bench, data: st.DataObject) -> None:
    operation = data.draw(st.sampled_from(bench.yard.gateway.operations))
    body = data.draw(
        st.one_of(
            st.binary(max_size=200),
            st.sampled_from([b"[" * 5000, b'{"a":' * 2000, b"\xff\xfe{}", b"null", b"0" * 5000]),
        )
    )
    text = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=80)
    headers = data.draw(
        st.dictionaries(
            st.sampled_from(HEADERS),
            text,
            max_size=5,
        )
    )
    headers.setdefault("authorization", f"Bearer {bench.yard.key}")
    target = operation.path.replace("{", "x").replace("}", "")
    query = data.draw(st.sampled_from(["", "?limit=-1", "?limit=1e9", "?after=%00", "?a=%ff&a"]))
    answer = bench.call(bench.yard.stranger, operation.method, target + query, body, headers)
    assert answer.status < 500 or answer.status == NOT_NOW, (target, body, headers, answer.body)
