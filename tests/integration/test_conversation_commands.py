"""The command line of conversations from end to end, on a real server."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from support.job_server import Server
from tokenyard.cli.commands import main


def chat(title: str, *texts: str) -> dict[str, Any]:
    """A conversation as ChatGPT gives it out."""
    mapping: dict[str, Any] = {"root": {"message": None, "parent": None}}
    above = "root"
    for place, text in enumerate(texts):
        author = {"role": "user" if place % 2 == 0 else "assistant"}
        content = {"content_type": "text", "parts": [text]}
        mapping[str(place)] = {
            "parent": above,
            "message": {"author": author, "content": content, "create_time": 1_700_000_000.0},
        }
        above = str(place)
    return {
        "title": title,
        "create_time": 1_700_000_000.0,
        "update_time": 1_700_000_000.0,
        "current_node": above,
        "mapping": mapping,
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("talks") / "home"
    home.mkdir()
    made = Server(home)
    try:
        made.start()
        yield made
    finally:
        made.end(signal.SIGTERM)


def ask(server: Server, *words: str, given: bytes = b"", status: int = 0) -> str:
    environment = {
        "TOKENYARD_URL": server.told["url"],
        "TOKENYARD_API_KEY": server.told["api_key"],
    }
    result = CliRunner().invoke(main, ["conversations", *words], env=environment, input=given)
    assert result.exit_code == status, result.output
    return result.output


def test_conversations_are_taken_in_found_read_given_out_and_deleted(
    server: Server, tmp_path: Path
) -> None:
    assert ask(server, "list") == "No conversations.\n"
    talks = [chat("Rain", "Will it rain in Köln?", "It will."), chat("Sun", "And the sun?", "No.")]
    file = tmp_path / "chats.json"
    file.write_text(json.dumps(talks))
    assert "2 conversations with 4 messages" in ask(server, "import", str(file))
    assert "1 conversations" in ask(server, "import", "-", given=json.dumps(talks[0]).encode())
    table = ask(server, "list")
    assert table.splitlines()[0].split() == ["id", "used", "(UTC)", "marks", "title"]
    listed = json.loads(ask(server, "list", "--json"))["data"]
    assert sorted(one["title"] for one in listed) == ["Rain", "Rain", "Sun"]
    [sun] = [one["id"] for one in listed if one["title"] == "Sun"]

    found = ask(server, "search", "köln", "rain")
    assert found.count("Will it rain in Köln?") == 2
    assert ask(server, "search", "snow") == "Nothing found.\n"
    shown = ask(server, "show", sun)
    assert "[user]\nAnd the sun?" in shown
    assert "[assistant]\nNo." in shown
    told = json.loads(ask(server, "show", sun, "--json"))
    assert [item["role"] for item in told["items"]] == ["user", "assistant"]

    out = tmp_path / "out.json"
    ask(server, "export", sun, "--format", "openwebui", "--output", str(out))
    assert [one["title"] for one in json.loads(out.read_text())] == ["Sun"]
    assert len(json.loads(ask(server, "export"))) == 3

    assert "Aborted" in ask(server, "delete", sun, given=b"n\n", status=1)
    assert ask(server, "delete", sun, "--yes") == f"Deleted {sun}.\n"
    refused = ask(server, "show", sun, status=1)
    assert f"There is no conversation '{sun}'." in refused
