"""Reads job files: YAML, TOML or JSON into a spec; a mistake names its line.

Decides whether the text is a job file; what the platform makes of it (queues, classes, limits) is
`queue`'s. YAML is read without aliases, with which a small file can become an endless one.
"""

import re
import tomllib
from typing import Any

import msgspec

from tokenyard.protocol.jobs import JobSpec
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.reasons import Reason

JOB_FILE_BYTES_MAX = 1024 * 1024
_AT = re.compile(r" - at (?:`key` in )?`\$(?P<path>[^`]*)`$")
_FIELD = re.compile(r"(?:unknown|required) field `(?P<name>[^`]*)`")
_STEP = re.compile(r"\.(?P<name>[\w.-]+?)(?=[.\[]|$)|\[(?P<number>\d+)\]")
_TOML_TABLE = re.compile(r"^\s*(?P<open>\[\[?)\s*(?P<name>[^\]]+?)\s*\]")
_TOML_KEY = re.compile(r"^\s*(?P<name>[\w.\"'-]+)\s*=")
_TOML_LINE = re.compile(r"\(at line (?P<line>\d+)")


class JobFileFault(InvalidRequest):
    """A mistake in a job file, with the line that is to blame (from 1)."""

    def __init__(self, message: str, line: int, reason: Reason, param: str | None = None) -> None:
        super().__init__(message, reason=reason, param=param)
        self.line = line


Path = tuple[str | int, ...]
Lines = dict[Path, int]


def read_job_file(text: str, name: str) -> JobSpec:
    """The spec; raises InvalidRequest as `name:line: what is wrong`.

    name: of the file; its ending tells the format, and anything else is read as YAML.
    """
    if len(text.encode()) > JOB_FILE_BYTES_MAX:
        raise InvalidRequest(f"{name}: a job file has at most {JOB_FILE_BYTES_MAX} bytes.")
    data, lines = _read_toml(text, name) if name.endswith(".toml") else _read_yaml(text, name)
    try:
        return msgspec.convert(data, JobSpec)
    except msgspec.ValidationError as error:
        raise _explain(str(error), lines, name) from None


def job_file_schema() -> dict[str, Any]:
    """The JSON schema of a job file, for editors."""
    schema = msgspec.json.schema(JobSpec)
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, "title": "Tokenyard job file", **schema}


def _explain(text: str, lines: Lines, name: str) -> InvalidRequest:
    path: Path = ()
    if match := _AT.search(text):
        text = text[: match.start()]
        path = tuple(
            step["name"] if step["name"] is not None else int(step["number"])
            for step in _STEP.finditer(match["path"])
        )
    field = _FIELD.search(text)
    reason = Reason.INVALID_VALUE
    if field is not None:
        path = (*path, field["name"])
        if "unknown" in text:
            reason = Reason.UNKNOWN_PARAMETER
    spelled = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in path)[:200]
    where = spelled.lstrip(".")
    told = f"'{where}': {text}" if where and field is None else text
    line = _line_of(path, lines)
    return JobFileFault(f"{name}:{line}: {told}.", line, reason, where or None)


def _line_of(path: Path, lines: Lines) -> int:
    """The line of that place, or of the nearest thing around it."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return lines.get((), 1)


def _fault(name: str, line: int, what: str) -> InvalidRequest:
    return JobFileFault(f"{name}:{line}: {what}.", line, Reason.INVALID_VALUE)


def _read_yaml(text: str, name: str) -> tuple[Any, Lines]:
    # Only here: the server reads no job files.
    import yaml  # noqa: PLC0415

    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                mark = event.start_mark
                line = 1 if mark is None else mark.line + 1
                raise _fault(name, line, "aliases (`*name`) are not read")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: Lines = {(): 1}
        if root is not None:
            _note_yaml(root, (), lines, name)
        return yaml.safe_load(text), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = 1 if mark is None else mark.line + 1
        raise _fault(name, line, error.problem or "this is not YAML") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _fault(name, 1, f"this is not YAML: {str(error).splitlines()[0]}") from None


def _note_yaml(node: Any, path: Path, lines: Lines, name: str) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if node.id == "mapping":
        for key, value in node.value:
            inner = (*path, str(key.value))
            line = key.start_mark.line + 1
            if inner in lines:
                raise _fault(name, line, f"'{key.value}' is there twice")
            lines[inner] = line
            _note_yaml(value, inner, lines, name)
    elif node.id == "sequence":
        for number, value in enumerate(node.value):
            _note_yaml(value, (*path, number), lines, name)


def _read_toml(text: str, name: str) -> tuple[Any, Lines]:
    try:
        return tomllib.loads(text), _note_toml(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        match = _TOML_LINE.search(str(error))
        what = re.sub(r"\s*\(at .*\)$", "", str(error))
        raise _fault(name, int(match["line"]) if match else 1, what) from None


def _note_toml(text: str) -> Lines:
    """Where keys and tables begin; the parser does not tell. Inside long texts it may guess."""
    lines: Lines = {(): 1}
    table: Path = ()
    counts: dict[Path, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if match := _TOML_TABLE.match(line):
            table = _toml_path(match["name"])
            if match["open"] == "[[":
                index = counts[table] = counts.get(table, -1) + 1
                table = (*table, index)
            elif table[:1] in counts:
                table = (table[0], counts[table[:1]], *table[1:])
            lines.setdefault(table, number)
        elif match := _TOML_KEY.match(line):
            lines.setdefault((*table, *_toml_path(match["name"])), number)
    return lines


def _toml_path(name: str) -> Path:
    return tuple(part.strip().strip("\"'") for part in name.split("."))
