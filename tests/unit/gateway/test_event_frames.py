"""What is on the wire of a stream, for clients that take every block for an event."""

from support.yards import MODEL, open_fake_yard


async def test_no_block_of_a_stream_is_without_data() -> None:
    """OpenAI's client decodes the data of each, also of one that only says `retry`."""
    async with open_fake_yard() as yard:
        asked = {"model": MODEL, "input": "Hi", "stream": True}
        answer = await yard.client.call("POST", "/v1/responses", json_body=asked)
    assert answer.status == 200
    blocks = [block for block in answer.body.decode().split("\n\n") if block]
    assert len(blocks) > 5
    for block in blocks:
        lines = block.splitlines()
        assert all(line.startswith(":") for line in lines) or any(
            line.startswith("data: {") for line in lines
        ), block
    assert "retry: " in blocks[0]
