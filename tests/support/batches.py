"""Uploads and batches as a client makes them, over an ASGI client."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from support.asgi import Answer, AsgiClient
from support.yards import MODEL, FakeYard

CHAT = "/v1/chat/completions"
BOUNDARY = "cut-here-1234"
ENDED = ("completed", "failed", "expired", "cancelled")


def line(number: int, **changes: Any) -> dict[str, Any]:
    """One request of an input file; `body` changes the body, the rest the line."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": f"Say {number}"}]}
    body.update(changes.pop("body", {}))
    return {
        "custom_id": f"line-{number}",
        "method": "POST",
        "url": CHAT,
        "body": body,
        **changes,
    }


def jsonl(lines: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in lines)


def form(
    data: bytes | None, *, filename: str = "input.jsonl", **fields: str
) -> tuple[bytes, dict[str, str]]:
    """A multipart body, the fields first, and its headers."""
    body = b""
    for name, value in fields.items():
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        body += head.encode() + value.encode() + b"\r\n"
    if data is not None:
        head = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"'
            "\r\nContent-Type: application/octet-stream\r\n\r\n"
        )
        body += head.encode() + data + b"\r\n"
    body += f"--{BOUNDARY}--\r\n".encode()
    return body, {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


async def upload(
    client: AsgiClient, data: bytes, *, purpose: str = "batch", **fields: str
) -> Answer:
    body, headers = form(data, purpose=purpose, **fields)
    return await client.call("POST", "/v1/files", body=body, headers=headers)


async def create(yard: FakeYard, data: bytes, **changes: Any) -> Any:
    """Upload the input and make a batch of it; the batch's body."""
    file = await upload(yard.client, data)
    assert file.status == 200, file.body
    asked = {
        "input_file_id": file.json()["id"],
        "endpoint": CHAT,
        "completion_window": "24h",
        **changes,
    }
    answer = await yard.client.call("POST", "/v1/batches", json_body=asked)
    assert answer.status == 200, answer.body
    return answer.json()


async def get(yard: FakeYard, batch: Mapping[str, Any]) -> Any:
    return (await yard.client.call("GET", f"/v1/batches/{batch['id']}")).json()


async def until(
    yard: FakeYard, batch: Mapping[str, Any], *statuses: str, seconds_max: float = 120.0
) -> Any:
    """Let time pass until the batch has one of the statuses (any end, when none are named)."""
    wanted = statuses or ENDED
    waited = 0.0
    while True:
        found = await get(yard, batch)
        if found["status"] in wanted:
            return found
        assert waited < seconds_max, found
        await yard.clock.advance(0.1)
        waited += 0.1


async def read(yard: FakeYard, file: str) -> list[Any]:
    """The lines of a file."""
    answer = await yard.client.call("GET", f"/v1/files/{file}/content")
    assert answer.status == 200
    return [json.loads(one) for one in answer.body.splitlines()]
