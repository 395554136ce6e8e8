"""Logs: one JSON object a line, nothing below their level, and no file grows for ever."""

import io
import json
import logging
import time
from pathlib import Path

from tokenyard.runtime.clock import SimulatedClock
from tokenyard.runtime.settings import LogSettings
from tokenyard.telemetry.logs import Event, Log, bridge_library_logs, open_log_file


def test_line_is_json_with_time_level_and_event() -> None:
    out = io.StringIO()
    log = Log(out, SimulatedClock(1.5))
    log.info(Event.STARTED, url="http://x")
    log.debug(Event.STOPPED)
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {"time": 1.5, "level": "info", "event": "process.started", "url": "http://x"}
    ]


def test_error_tells_where_it_broke() -> None:
    out = io.StringIO()
    try:
        raise ValueError("odd")
    except ValueError as error:
        Log(out, SimulatedClock()).error(Event.TASK_FAILED, error, task="t")
    line = json.loads(out.getvalue())
    assert line["error"] == "ValueError: odd"
    assert "test_logs.py" in line["at"]


def test_text_form_is_for_people() -> None:
    out = io.StringIO()
    Log(out, SimulatedClock(), text=True).warning(Event.REPLICA_LOST, replica="engine-0")
    assert out.getvalue() == "warning replica.lost replica=engine-0\n"


def test_libraries_speak_through_our_log() -> None:
    out = io.StringIO()
    root = logging.getLogger()
    handlers = list(root.handlers)
    try:
        bridge_library_logs(Log(out, SimulatedClock()))
        logging.getLogger("library").info("chatter")
        logging.getLogger("library").warning("take %s", "care")
    finally:
        root.handlers[:] = handlers
    (line,) = [json.loads(line) for line in out.getvalue().splitlines()]
    assert (line["library"], line["message"]) == ("library", "take care")


def test_file_moves_aside_when_it_has_grown(tmp_path: Path) -> None:
    path = tmp_path / "run" / "gateway.log"
    with open_log_file(path, SimulatedClock(), LogSettings(file_bytes_max=500)) as log:
        for number in range(20):
            log.info(Event.STARTED, number=number)
    old = path.with_name("gateway.log.1")
    kept = [json.loads(line) for file in (old, path) for line in file.read_text().splitlines()]
    assert [line["number"] for line in kept][-1] == 19
    assert old.stat().st_size < 700
    assert path.stat().st_size < 700


def test_old_files_are_deleted_by_number_and_by_age(tmp_path: Path) -> None:
    path = tmp_path / "gateway.log"
    clock = SimulatedClock(time.time())
    settings = LogSettings(file_seconds=10.0, files_kept=3, kept_seconds=1_000.0)
    with open_log_file(path, clock, settings) as log:
        for number in range(8):
            clock._now += 10
            log.info(Event.STARTED, number=number)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "gateway.log",
        *(f"gateway.log.{number}" for number in (1, 2, 3)),
    ]
    assert '"number":7' in (tmp_path / "gateway.log.1").read_text()
    clock._now += 2_000
    with open_log_file(path, clock, settings):
        assert [file.name for file in tmp_path.iterdir()] == ["gateway.log"]


def test_hidden_fields_are_in_no_line(tmp_path: Path) -> None:
    path = tmp_path / "gateway.log"
    with open_log_file(path, SimulatedClock(), LogSettings(hidden_fields=("user",))) as log:
        log.info(Event.REQUEST_DONE, user="user_1", status=200)
    assert "user" not in path.read_text()
    assert '"status":200' in path.read_text()


def test_what_is_no_text_is_told_all_the_same() -> None:
    out = io.StringIO()
    log = Log(out, SimulatedClock())
    log.info(Event.STARTED, half="\ud83d", path=Path("/x"), number=float("inf"))
    log.info(Event.STARTED, path=Path("/x"))
    first, second = [json.loads(line) for line in out.getvalue().splitlines()]
    assert (first["half"], first["path"], second["path"]) == ("\ud83d", "/x", "/x")
