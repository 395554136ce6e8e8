"""The tree keeps the house style, and the checker would notice if it did not."""

import textwrap
import time
from pathlib import Path

import pytest

from tools.tidy import whole
from tools.tidy.__main__ import check_module, check_tree
from tools.tidy.source import Module

ROOT = Path(__file__).resolve().parents[2]
SECONDS_MAX = 20.0


def module(code: str, place: str = "chat/thread.py", *, docstring: bool = True) -> Module:
    """A module of the package at that place, with that code."""
    head = '"""Decides nothing."""\n' if docstring else ""
    name = "tokenyard." + place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return Module(name, f"src/tokenyard/{place}", head + textwrap.dedent(code))


def kinds(code: str, place: str = "chat/thread.py") -> list[str]:
    return [finding.kind for finding in check_module(module(code, place))]


def test_the_tree_is_tidy() -> None:
    began = time.process_time()
    findings = check_tree(ROOT)
    spent = time.process_time() - began
    assert not findings, "\n" + "\n".join(map(str, findings))
    assert spent < SECONDS_MAX


LONG = "def long() -> int:\n" + "    x = 1\n" * 70 + "    return x\n"
DOCUMENTED = 'def long() -> int:\n    """' + "words\n" * 30 + '    """\n' + "    x = 1\n" * 60

FAULTS = [
    ("function-length", "chat/thread.py", LONG),
    ("class-length", "chat/thread.py", "class Big:\n" + "    x = 1\n" * 300),
    ("module-length", "chat/thread.py", "X = 1\n" * 500),
    ("banned-name", "chat/utils.py", "X = 1"),
    ("banned-name", "chat/helpers/thing.py", "X = 1"),
    ("banned-call", "chat/thread.py", "import time\nNOW = time.time"),
    ("banned-call", "chat/thread.py", "from time import monotonic as m\ndef f(): return m()"),
    ("banned-call", "runtime/clock.py", "import time\ndef f(): time.sleep(1)"),
    ("banned-call", "chat/thread.py", "import datetime\ndef f(): datetime.datetime.now()"),
    ("banned-call", "chat/thread.py", "from datetime import datetime as d\ndef f(): d.now()"),
    ("banned-call", "chat/thread.py", "from datetime import date\ndef f(): date.today()"),
    ("banned-call", "chat/records.py", "from uuid import uuid4\ndef f(x=uuid4): ..."),
    ("banned-call", "chat/thread.py", "import random\ndef f(): random.choice([1])"),
    ("banned-call", "chat/thread.py", "import secrets\ndef f(): secrets.token_hex()"),
    ("banned-call", "chat/thread.py", "import os\ndef f(): os.urandom(3)"),
    ("banned-call", "chat/thread.py", "import os\ndef f(): return os.environ['X']"),
    ("banned-call", "chat/thread.py", "def f(): print(1)"),
    ("banned-call", "chat/thread.py", "import asyncio\ndef f(c): asyncio.create_task(c)"),
    ("banned-call", "chat/thread.py", "def f(loop, c): loop.create_task(c)"),
    ("banned-call", "chat/thread.py", "from asyncio import TaskGroup\ndef f(): TaskGroup()"),
    ("banned-call", "chat/thread.py", "import asyncio\nasync def f(): await asyncio.sleep(1)"),
    ("banned-call", "chat/a.py", "import asyncio\ndef f(): asyncio.create_subprocess_exec('ls')"),
    ("banned-call", "chat/thread.py", "import logging\nLOG = logging.getLogger()"),
    ("banned-call", "chat/thread.py", "def f(x): return eval(x)"),
    ("banned-call", "engine/model/a.py", "import torch\ndef f(p): return torch.load(p)"),
    ("banned-call", "chat/thread.py", "import pickle\ndef f(p): return pickle.loads(p)"),
    (
        "banned-call",
        "gateway/app.py",
        "from starlette.middleware.base import BaseHTTPMiddleware as B\nclass M(B): x = 1",
    ),
    ("banned-call", "gateway/a.py", "from urllib.request import urlopen\nOPEN = urlopen"),
    ("leftover", "chat/thread.py", "X = 1  # " + "TO" + "DO later"),
    ("leftover", "chat/thread.py", "X = 1  # " + "FIX" + "ME"),
    ("leftover", "chat/thread.py", "X = 1  # " + "XX" + "X"),
    ("leftover", "chat/thread.py", "X = 1  # " + "HA" + "CK"),
    ("leftover", "chat/thread.py", "def f(): raise NotImplementedError"),
    ("leftover", "chat/thread.py", "def f(): breakpoint()"),
    ("leftover", "chat/thread.py", "def f(): pass"),
    ("swallowed-cancellation", "chat/a.py", "def f():\n  try: g()\n  except BaseException: g()"),
    ("swallowed-cancellation", "chat/a.py", "def f():\n  try: g()\n  except: g()"),
    (
        "swallowed-cancellation",
        "chat/a.py",
        "import asyncio\ndef f():\n  try: g()\n  except (ValueError, asyncio.CancelledError): g()",
    ),
    (
        "swallowed-cancellation",
        "chat/a.py",
        "from asyncio import CancelledError as C\ndef f():\n  try: g()\n  except C: g()",
    ),
    (
        "swallowed-cancellation",
        "chat/a.py",
        "import asyncio, contextlib as c\ndef f():\n  with c.suppress(asyncio.CancelledError): g()",
    ),
    (
        "swallowed-cancellation",
        "chat/a.py",
        "def f():\n  try: g()\n  except BaseException:\n    def later(): raise ValueError",
    ),
    ("broad-handler", "chat/a.py", "def f():\n  try: g()\n  except Exception: g()"),
    (
        "broad-handler",
        "chat/a.py",
        "def f():\n  try: g()\n  except Exception:  # noqa: BLE001\n    g()",
    ),
    ("impure-rule", "chat/rules/a.py", "async def f(): ..."),
    ("impure-rule", "chat/rules/a.py", "import asyncio"),
    ("impure-rule", "chat/rules/a.py", "import pathlib"),
    ("impure-rule", "chat/rules/a.py", "from tokenyard.chat.ports import Store"),
    ("impure-rule", "chat/rules/a.py", "from tokenyard.runtime.clock import Clock"),
    ("impure-rule", "chat/rules/a.py", "import msgspec"),
    ("impure-rule", "chat/rules/a.py", "def f(p): return open(p)"),
    ("mutable-global", "chat/thread.py", "cache = {}"),
    ("mutable-global", "chat/thread.py", "SEEN = set()"),
    ("mutable-global", "chat/thread.py", "from collections import deque\nWAITING = deque()"),
    ("mutable-global", "chat/thread.py", "TABLE = {}\ndef f(k): TABLE[k] = 1"),
    ("mutable-global", "chat/thread.py", "TABLE = [1]\ndef f(k): TABLE.append(k)"),
    ("mutable-global", "chat/thread.py", "COUNT = 0\ndef f():\n  global COUNT\n  COUNT = 1"),
    ("unbounded-cache", "chat/a.py", "from functools import cache\n@cache\ndef f(): return 1"),
    (
        "unbounded-cache",
        "chat/a.py",
        "import functools\n@functools.lru_cache(maxsize=None)\ndef f(): return 1",
    ),
    ("import-effect", "chat/thread.py", "from x import start\nstart()"),
    ("import-effect", "chat/thread.py", "for n in (1, 2): X = n"),
    ("package-docstring", "chat/__init__.py", '"""One thing. And another."""'),
    ("excuse", "chat/thread.py", "cache = 1  # tidy" + ": allow mutable-global"),
]


@pytest.mark.parametrize(("kind", "place", "code"), FAULTS)
def test_a_fault_is_found(kind: str, place: str, code: str) -> None:
    if place.endswith("__init__.py"):
        found = check_module(module(code, place, docstring=False))
        assert [finding.kind for finding in found] == [kind]
    else:
        assert kind in kinds(code, place)


GOOD = [
    ("chat/thread.py", DOCUMENTED),
    ("runtime/clock.py", "import time\ndef f(): return time.time()"),
    ("cli.py", "def f(): print(1)"),
    ("runtime/tasks.py", "import asyncio\ndef f(c): return asyncio.create_task(c)"),
    ("chat/thread.py", "import asyncio\nasync def f(): await asyncio.sleep(0)"),
    ("chat/thread.py", "import asyncio\nasync def f(c): await c.sleep(1)"),
    ("chat/thread.py", "def f():\n  try: g()\n  except BaseException:\n    g()\n    raise"),
    (
        "chat/thread.py",
        "def f():\n  try: g()\n  except Exception:  # One reader must not stop the rest.\n    g()",
    ),
    ("chat/thread.py", "TABLE = {1: 2}\ndef f(k): return TABLE[k]"),
    ("chat/thread.py", "def f():\n  table = {}\n  table[1] = 2\n  return table"),
    (
        "chat/rules/a.py",
        "from tokenyard.chat.records import Item\nfrom dataclasses import dataclass",
    ),
    ("chat/thread.py", "from functools import lru_cache\n@lru_cache(maxsize=8)\ndef f(): return 1"),
    ("chat/thread.py", "cache = {}  # tidy: allow mutable-global: filled once, by its own import"),
    ("chat/thread.py", "# tidy: allow mutable-global: filled once\ncache = {}"),
    ("chat/thread.py", "def f(self): return self.time.time"),
]


@pytest.mark.parametrize(("place", "code"), GOOD)
def test_what_is_right_is_left_alone(place: str, code: str) -> None:
    assert kinds(code, place) == []


def test_a_module_without_a_docstring_is_found() -> None:
    found = check_module(module("X = 1", docstring=False))
    assert [finding.kind for finding in found] == ["module-docstring"]


def test_a_finding_names_its_line() -> None:
    (finding,) = check_module(module("X = 1\n\ndef f():\n    print(1)\n"))
    assert str(finding).startswith("src/tokenyard/chat/thread.py:5: banned-call: print")


def test_a_module_that_nobody_uses_is_dead() -> None:
    cli = module("from tokenyard.chat import thread", "cli.py")
    lonely = module("import tokenyard.chat.lonely", "chat/lonely.py")
    spoken = module("X = 1", "engine/server.py")
    starter = module("ARGUMENTS = ('-m', 'tokenyard.engine.server')", "chat/thread.py")
    found = whole.check_dead([cli, module("X = 1"), lonely, spoken, starter], [])
    assert [finding.message for finding in found] == ["nothing uses tokenyard.chat.lonely"]


def test_a_unit_test_alone_keeps_no_module_alive(tmp_path: Path) -> None:
    for folder in ("tests/unit", "tests/contract"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "tests/unit/test_a.py").write_text("import tokenyard.chat.a")
    (tmp_path / "tests/contract/test_b.py").write_text("import tokenyard.chat.b")
    modules = [module("X = 1", "chat/a.py"), module("X = 1", "chat/b.py")]
    found = whole.check_dead(modules, whole.load_users(tmp_path))
    assert [finding.message for finding in found] == ["nothing uses tokenyard.chat.a"]


ROOMS = [
    ("| `chat/` | Conversations and their streams. |", []),
    ("- `chat/`: conversations and their streams.", []),
    ("Somewhere `chat/` is named. With words.", ["`chat/` has no line in docs/rooms.md"]),
    ("| `chat/` | |", ["`chat/` has no sentence in docs/rooms.md"]),
    (
        "| `chat/` | Conversations and streams. |\n| `gone/` | Was a room once. |",
        ["`gone/` is named, but does not exist"],
    ),
]


@pytest.mark.parametrize(("page", "expected"), ROOMS)
def test_each_room_has_its_sentence(page: str, expected: list[str]) -> None:
    found = whole.check_rooms_page([module('"""Talk."""', "chat/__init__.py")], page)
    assert [finding.message for finding in found] == expected
