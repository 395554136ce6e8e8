"""What may be named where: clocks, chance, tasks, processes, output, the environment.

import-linter confines imports; this confines what slips through an allowed import, such as
`datetime.now`, `os.environ` or `asyncio.create_task`.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tools.tidy.source import Finding, Module


@dataclass(frozen=True)
class Ban:
    """A dotted name that only some places may use. `name` also covers everything below it."""

    name: str
    allowed: tuple[str, ...]
    instead: str


_CLOCK = "take a runtime.clock.Clock as a parameter"
_CHANCE = "take a runtime.randomness.Randomness as a parameter"
_TASK = "spawn it on a runtime.tasks.TaskSupervisor"
_PROCESS = "start processes in jobs/executors"
_LOG = "write a declared event to a telemetry.logs.Log"
_SETTING = "make it a setting"

BANS = (
    Ban("datetime.datetime.now", ("runtime",), _CLOCK),
    Ban("datetime.datetime.utcnow", ("runtime",), _CLOCK),
    Ban("datetime.datetime.today", ("runtime",), _CLOCK),
    Ban("datetime.date.today", ("runtime",), _CLOCK),
    Ban("time.time", ("runtime",), _CLOCK),
    Ban("time.time_ns", ("runtime",), _CLOCK),
    Ban("time.monotonic", ("runtime",), _CLOCK),
    Ban("time.monotonic_ns", ("runtime",), _CLOCK),
    Ban("time.perf_counter", ("runtime",), _CLOCK),
    Ban("time.perf_counter_ns", ("runtime",), _CLOCK),
    Ban("time.sleep", (), "nothing may block a loop; " + _CLOCK),
    Ban("asyncio.sleep", ("runtime",), "wait on the clock: " + _CLOCK),
    Ban("uuid.uuid1", ("runtime",), _CHANCE),
    Ban("uuid.uuid4", ("runtime",), _CHANCE),
    Ban("random", ("runtime",), _CHANCE),
    Ban("secrets", ("runtime",), _CHANCE),
    Ban("os.urandom", ("runtime",), _CHANCE),
    Ban("asyncio.create_task", ("runtime.tasks",), _TASK),
    Ban("asyncio.ensure_future", ("runtime.tasks",), _TASK),
    Ban("asyncio.TaskGroup", ("runtime.tasks",), _TASK),
    Ban("asyncio.get_event_loop", (), "use get_running_loop"),
    Ban("asyncio.create_subprocess_exec", ("jobs.executors",), _PROCESS),
    Ban("asyncio.create_subprocess_shell", (), _PROCESS + ", without a shell"),
    Ban("os.system", (), _PROCESS + ", without a shell"),
    Ban("os.popen", (), _PROCESS + ", without a shell"),
    Ban("os.fork", (), _PROCESS),
    Ban("urllib.request", ("upstreams",), "HTTP clients belong in upstreams"),
    Ban("http.client", ("upstreams",), "HTTP clients belong in upstreams"),
    Ban("os.environ", ("cli", "runtime", "jobs.executors"), _SETTING),
    Ban("os.getenv", ("cli", "runtime", "jobs.executors"), _SETTING),
    Ban("print", ("cli",), _LOG),
    Ban("input", ("cli",), "only the command line talks to a person"),
    Ban("logging", ("telemetry",), _LOG),
    Ban("eval", (), "never run text"),
    Ban("exec", (), "never run text"),
    Ban("pickle", (), "never unpickle; use msgspec"),
    Ban("torch.load", (), "never unpickle; read GGUF or safetensors"),
    Ban(
        "starlette.middleware.base.BaseHTTPMiddleware",
        (),
        "it breaks streaming and cancellation; write a plain ASGI middleware",
    ),
    Ban("BaseHTTPMiddleware", (), "write a plain ASGI middleware"),
)
_BANS = {ban.name: ban for ban in BANS}
_CANCELLATION = frozenset(
    {"BaseException", "asyncio.CancelledError", "asyncio.exceptions.CancelledError"}
)
_WORDED_COMMENT = re.compile(
    r"#\s*(?!noqa|type:|pragma)\S+(\s+\S+){2,}|BLE001\s*[-:#]*\s*\w+\s+\w+"
)


def check_bans(module: Module) -> Iterator[Finding]:
    """Banned names, used or only handed on, whatever they were imported as."""
    inner = {id(node.value) for node in module.nodes if isinstance(node, ast.Attribute)}
    inner |= {
        id(node.func)
        for node in module.nodes
        if isinstance(node, ast.Call) and _yields_once(module, node)
    }
    for node in module.nodes:
        if not isinstance(node, ast.Attribute | ast.Name) or id(node) in inner:
            continue
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            continue
        ban = _ban_of(module.dotted(node) or "")
        if ban and not module.inside(*ban.allowed):
            yield module.find(node.lineno, "banned-call", f"{ban.name}: {ban.instead}")
        made = isinstance(node, ast.Attribute) and node.attr == "create_task"
        if made and not ban and not module.inside("runtime.tasks"):
            yield module.find(node.lineno, "banned-call", f"create_task: {_TASK}")


def check_cancellation(module: Module) -> Iterator[Finding]:
    """Cancellation always propagates: who catches it raises it again."""
    for node in module.nodes:
        if isinstance(node, ast.ExceptHandler):
            if _catches_cancellation(module, node.type) and not _raises(node):
                yield module.find(
                    node.lineno, "swallowed-cancellation", "caught, but not raised again"
                )
        elif (
            isinstance(node, ast.Call)
            and module.dotted(node.func) == "contextlib.suppress"
            and any(_catches_cancellation(module, argument) for argument in node.args)
        ):
            yield module.find(node.lineno, "swallowed-cancellation", "suppressed")


def check_broad_handlers(module: Module) -> Iterator[Finding]:
    """`except Exception` that does not raise again says in a comment why that is right."""
    for node in module.nodes:
        if not isinstance(node, ast.ExceptHandler) or node.type is None:
            continue
        named = [module.dotted(part) for part in _parts(node.type)]
        if "Exception" in named and not _raises(node) and not _has_reason(module, node):
            yield module.find(node.lineno, "broad-handler", "say in a comment why all is caught")


def _yields_once(module: Module, node: ast.Call) -> bool:
    """`asyncio.sleep(0)` lets others run and waits for no time."""
    if module.dotted(node.func) != "asyncio.sleep":
        return False
    return (
        len(node.args) == 1 and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
    )


def _ban_of(dotted: str) -> Ban | None:
    parts = dotted.split(".")
    for length in range(1, len(parts) + 1):
        ban = _BANS.get(".".join(parts[:length]))
        if ban:
            return ban
    return None


def _parts(node: ast.expr) -> list[ast.expr]:
    return list(node.elts) if isinstance(node, ast.Tuple) else [node]


def _catches_cancellation(module: Module, node: ast.expr | None) -> bool:
    if node is None:
        return True
    return any(module.dotted(part) in _CANCELLATION for part in _parts(node))


def _raises(handler: ast.ExceptHandler) -> bool:
    """Whether the handler itself (not a function defined in it) can raise."""
    waiting: list[ast.AST] = list(handler.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Raise):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))
    return False


def _has_reason(module: Module, handler: ast.ExceptHandler) -> bool:
    first = handler.body[0].lineno
    near = module.lines[max(0, handler.lineno - 2) : first]
    return any(_WORDED_COMMENT.search(line) for line in near)
