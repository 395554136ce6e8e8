"""Files with a question: by their id, or in the request itself."""

import base64
import json
from typing import Any

import pytest

from support.yards import MODEL, FakeYard
from unit.gateway.test_threads import new_conversation, sent


async def upload(yard: FakeYard, data: bytes, purpose: str = "user_data") -> str:
    form = (
        f'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'
        '--b\r\ncontent-disposition: form-data; name="file"; filename="notes.txt"\r\n\r\n'
    ).encode() + data + b"\r\n--b--\r\n"  # fmt: skip
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = await yard.client.call("POST", "/v1/files", body=form, headers=headers)
    assert answer.status == 200, answer.body
    return str(answer.json()["id"])


async def ask(yard: FakeYard, status: int = 200, **file: Any) -> Any:
    content = [{"type": "input_file", **file}, {"type": "input_text", "text": "What is this?"}]
    body = {"model": MODEL, "input": [{"role": "user", "content": content}]}
    answer = await yard.client.call("POST", "/v1/responses", json_body=body)
    assert answer.status == status, answer.body
    return answer.json()


SHOWN = "user: [File: notes.txt]\nBuy milk.\n[End of file]\n\nWhat is this?"


async def test_an_uploaded_file_is_read_with_the_question(yard: FakeYard) -> None:
    file = await upload(yard, b"Buy milk.")
    made = await ask(yard, file_id=file)
    assert sent(yard) == [SHOWN]
    items = (await yard.client.call("GET", f"/v1/responses/{made['id']}/input_items")).json()
    assert items["data"][0]["content"] == [
        {"type": "input_file", "filename": "notes.txt", "file_id": file, "characters": 9},
        {"type": "input_text", "text": "What is this?"},
    ]
    # The text stays with the message when the file is gone.
    assert (await yard.client.call("DELETE", f"/v1/files/{file}")).status == 200
    body = {"model": MODEL, "input": "And?", "previous_response_id": made["id"]}
    await yard.client.call("POST", "/v1/responses", json_body=body)
    assert sent(yard)[0] == SHOWN


@pytest.mark.parametrize("head", ["", "data:text/plain;base64,"])
async def test_a_file_in_the_request(yard: FakeYard, head: str) -> None:
    data = head + base64.b64encode(b"Buy milk.").decode()
    await ask(yard, file_data=data, filename="notes.txt")
    assert sent(yard) == [SHOWN]


async def test_a_file_in_a_conversation(yard: FakeYard) -> None:
    conversation = await new_conversation(yard)
    part = {"type": "input_file", "file_data": base64.b64encode(b"Buy milk.").decode()}
    body = {"items": [{"role": "user", "content": [part]}]}
    target = f"/v1/conversations/{conversation}/items"
    assert (await yard.client.call("POST", target, json_body=body)).status == 200
    gauge = await yard.client.call(
        "POST", "/api/context", json_body={"model": MODEL, "conversation": conversation}
    )
    parts = {part["name"]: part["tokens"] for part in gauge.json()["parts"]}
    assert parts["attachments"] == 7


@pytest.mark.parametrize(
    ("file", "status"),
    [
        ({}, 400),
        ({"file_id": "file_1", "file_data": "eA=="}, 400),
        ({"file_id": "file_none"}, 404),
        ({"file_data": "%%%"}, 400),
        ({"file_data": "http://x/,eA=="}, 400),
        ({"file_data": base64.b64encode(b"\x00").decode()}, 400),
        ({"file_url": "http://x/"}, 400),
    ],
)
async def test_files_that_cannot_be_read(yard: FakeYard, file: dict[str, Any], status: int) -> None:
    await ask(yard, status, **file)
    assert not yard.upstream.calls


async def test_a_file_for_something_else_is_refused(yard: FakeYard) -> None:
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {}}
    file = await upload(yard, json.dumps(line).encode(), "batch")
    refused = await ask(yard, 400, file_id=file)
    assert "user_data" in refused["error"]["message"]
