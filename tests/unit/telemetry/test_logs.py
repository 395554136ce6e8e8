"""Logs: one JSON object a line, nothing below their level, and no file grows for ever."""

import io
import json
import logging
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
