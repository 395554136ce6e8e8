"""A gateway is killed between an answer and its commit: what is kept, and what is given away.

The test holds the database's write lock, so that the answers are there and no bill can be written;
only then the process dies. No model is needed, only something that counts what it was asked.
"""

import contextlib
import http.client
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from acceptance import yard as yards
from acceptance.yard import Yard, wait_until
from support.other_server import WORDS, Handler, Server

MODEL = "Other/Model-1B"
TEXT = "".join(WORDS)
HOLDER_SECONDS = 1.0
SECONDS_MAX = 20.0
SETTINGS = """
[fleet]
engines = 0
[upstreams]
servers = [{{ name = "other", url = "http://127.0.0.1:{port}", models = ["{model}"] }}]
[ledger]
prices = [{{ model = "*", input = "1", cached_input = "1", output = "1" }}]
holder_seconds = {holder_seconds}
monthly_budget = "{budget}"
"""


class Counting(Handler):
    """Counts what it is asked, and answers only while the gate is open."""

    model = MODEL
    gate = threading.Event()
    asked = 0

    def do_POST(self) -> None:  # noqa: N802 (the name is http.server's)
        type(self).asked += 1
        assert self.gate.wait(SECONDS_MAX)
        super().do_POST()


@pytest.fixture
def port() -> Iterator[int]:
    """Where the counting server listens."""
    Counting.asked = 0
    Counting.gate.set()
    server = Server(("127.0.0.1", 0), Counting)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    Counting.gate.set()
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def begin(yard: Yard, *, stream: bool) -> Iterator[http.client.HTTPConnection]:
    """A request that was sent, and whose answer is still to be read."""
    parts = urlsplit(yard.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=SECONDS_MAX)
    with closing(connection):
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": "Count."}],
            "max_tokens": 8,
            "stream": stream,
        }
        headers = {
            "authorization": f"Bearer {yard.api_key}",
            "content-type": "application/json",
        }
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        yield connection


def ask(yard: Yard) -> str:
    """The id of an answer that was given to its end."""
    with begin(yard, stream=False) as connection:
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        assert json.loads(answer.read())["choices"][0]["message"]["content"] == TEXT
        return answer.getheader("x-request-id") or ""


def read_rest(answer: http.client.HTTPResponse) -> bytes:
    """What else comes of a stream that breaks off."""
    told = b""
    with contextlib.suppress(http.client.HTTPException, ConnectionError):
        while piece := answer.read1():
            told += piece
    return told


@contextmanager
def nobody_writes(database: Path) -> Iterator[None]:
    """While it lasts no transaction of another process commits."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def books_of(database: Path) -> tuple[set[str], int, int]:
    """The bills by id, how many reservations are open, and what is kept as reserved."""
    with closing(sqlite3.connect(database)) as connection:
        bills = {row[0] for row in connection.execute("SELECT id FROM usage_rows")}
        (count,) = connection.execute("SELECT count(*) FROM ledger_open").fetchone()
        (reserved,) = connection.execute(
            "SELECT total(nanos) FROM ledger_balances WHERE period = 0"
        ).fetchone()
    return bills, count, int(reserved)


@pytest.mark.parametrize("budget", ["", "1"], ids=["without a cap", "under a hard cap"])
def test_what_was_not_committed_is_given_away_and_nothing_else(
    tmp_path: Path, port: int, budget: str
) -> None:
    """Whoever saw the end of an answer was billed for it; who did not was not. Once each."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "settings.toml").write_text(
        SETTINGS.format(port=port, model=MODEL, holder_seconds=HOLDER_SECONDS, budget=budget)
    )
    database = home / "tokenyard.sqlite3"
    yard = yards.start(home, tmp_path / "first")
    try:
        yard.wait_until_ready()
        seen = {ask(yard), ask(yard)}
        Counting.gate.clear()
        with begin(yard, stream=True) as streamed, begin(yard, stream=False) as whole:
            wait_until(lambda: Counting.asked == 4, SECONDS_MAX, "both are at the model server")
            with nobody_writes(database):
                Counting.gate.set()
                answer = streamed.getresponse()
                told = b""
                while WORDS[-1].encode() not in told.rpartition(b'"content": ')[2]:
                    told += answer.read1()
                yard.process.kill()
                yard.process.wait()
                told += read_rest(answer)
                assert b"[DONE]" not in told
                with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
                    whole.getresponse()
        assert books_of(database)[0] == seen
    finally:
        yard.destroy()
    again = yards.start(home, tmp_path / "second")
    try:
        again.wait_until_ready()
        seen.add(ask(again))
        wait_until(lambda: books_of(database) == (seen, 0, 0), SECONDS_MAX, "the books are right")
        assert "right" in yards.run("ledger", "check", home=home).stdout
    finally:
        again.destroy()
    assert Counting.asked == 5
