"""The one tree of settings: defaults, then `settings.toml` in the data folder, then environment.

`TOKENYARD_GATEWAY__PORT=9000` sets `gateway.port`. A key that does not exist or a value that does
not fit stops the start with the key's name. `assembly` hands each room its own branch only.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from tokenyard.runtime.branch import Branch as _Branch
from tokenyard.runtime.branch import Count, Seconds
from tokenyard.runtime.chat_settings import ChatSettings
from tokenyard.runtime.engine_settings import EngineSettings, Port
from tokenyard.runtime.identity_settings import IdentitySettings
from tokenyard.runtime.job_settings import JobSettings
from tokenyard.runtime.ledger_settings import LedgerSettings
from tokenyard.runtime.limit_settings import LimitSettings
from tokenyard.runtime.moderation_settings import ModerationSettings
from tokenyard.runtime.routing_settings import RoutingSettings
from tokenyard.runtime.socket_settings import SocketSettings
from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.runtime.telemetry_settings import TelemetrySettings
from tokenyard.vocabulary.errors import StartError

ENVIRONMENT_PREFIX = "TOKENYARD_"
HOME_VARIABLE = "TOKENYARD_HOME"
URL_VARIABLE = "TOKENYARD_URL"
KEY_VARIABLE = "TOKENYARD_API_KEY"
# Of the commands that talk to a server; who has set them may start one all the same.
NO_SETTINGS = {HOME_VARIABLE, URL_VARIABLE, KEY_VARIABLE}
ENGINE_KIND_VARIABLE = "TOKENYARD_ENGINE__KIND"
FILE_NAME = "settings.toml"


class GatewaySettings(_Branch, frozen=True):
    """The HTTP face."""

    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port to listen on; 0 takes a free one.")] = 8400
    trusted_proxies: Annotated[
        str,
        Meta(
            description="Addresses or networks, divided by commas, whose `x-forwarded-for` and "
            "`x-forwarded-proto` are believed: the proxies in front of this server."
        ),
    ] = "127.0.0.1,::1"
    body_bytes_max: Annotated[
        Count, Meta(description="Longest request body; longer ones get 413.")
    ] = 4 * 1024 * 1024
    connections_max: Annotated[
        Count, Meta(description="Most open connections; further ones get 503.")
    ] = 10_000
    drain_seconds: Annotated[
        Seconds, Meta(description="How long running answers may go on after a stop signal.")
    ] = 10.0
    heartbeat_seconds: Annotated[
        Seconds, Meta(description="A comment is sent on a stream that was silent for this long.")
    ] = 15.0
    reader_stall_seconds: Annotated[
        Seconds,
        Meta(description="A reader that takes nothing for this long is closed; it may come back."),
    ] = 30.0
    reader_seconds_max: Annotated[
        Seconds,
        Meta(
            description="How long one connection of a browser's EventSource may last, give or "
            "take a fifth; it comes back by itself."
        ),
    ] = 300.0
    replays_kept_seconds: Annotated[
        Seconds,
        Meta(description="How long the answer to a request with an Idempotency-Key is kept."),
    ] = 86_400.0
    sockets: Annotated[
        SocketSettings, Meta(description="WebSockets; `[gateway.sockets]` in the file.")
    ] = SocketSettings()


class ServerSettings(_Branch, frozen=True):
    """A model server that runs already, at an address of the operator's choice."""

    name: Annotated[
        str,
        Meta(
            description="Its name in logs and metrics; not `engine-…`.",
            pattern=r"^(?!engine-)[a-z0-9][a-z0-9._-]{0,62}$",
        ),
    ]
    url: Annotated[
        str,
        Meta(
            description="Its address, http or https, with or without a final /v1.",
            pattern=r"^https?://[^\s@/?#]+(/[^\s@?#]*)?$",
        ),
    ]
    models: Annotated[
        tuple[str, ...], Meta(description="The models to offer; none means all that it lists.")
    ] = ()
    api_key_variable: Annotated[
        str,
        Meta(
            description="The environment variable that holds its key; empty means no key.",
            pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$",
        ),
    ] = ""
    kind: Annotated[
        str,
        Meta(
            description="What it is: `own`, `llamacpp`, `vllm`, `anthropic` for its Messages API, "
            "`openai-platform` for OpenAI itself, or `openai` for any other.",
            pattern="^(own|llamacpp|vllm|openai|openai-platform|anthropic)$",
        ),
    ] = "openai"
    weight: Annotated[
        int, Meta(ge=0, le=1_000_000, description="Its share among servers of its priority.")
    ] = 1
    priority: Annotated[
        int,
        Meta(ge=0, le=1000, description="Lower is asked first; others when none of it can be."),
    ] = 0
    tags: Annotated[
        tuple[str, ...],
        Meta(
            description="What it is, such as `eu` or `gold`; keys, aliases and requests may ask "
            "for servers with some of them."
        ),
    ] = ()


class UpstreamSettings(_Branch, frozen=True):
    """How the gateway talks to model servers."""

    servers: Annotated[
        tuple[ServerSettings, ...],
        Meta(description="Model servers that run already: `[[upstreams.servers]]` in the file."),
    ] = ()
    routing: RoutingSettings = RoutingSettings()
    listing_seconds: Annotated[
        Seconds,
        Meta(description="How often a server without /health is asked for its list of models."),
    ] = 10.0

    answer_tokens_assumed: Annotated[
        Count,
        Meta(
            description="How long an answer may be where a request does not say, for servers that "
            "have to be told (`anthropic`)."
        ),
    ] = 8192
    connect_seconds: Annotated[Seconds, Meta(description="Time to connect.")] = 2.0
    first_token_seconds: Annotated[
        Seconds, Meta(description="Time until the first event of an answer.")
    ] = 120.0
    between_tokens_seconds: Annotated[
        Seconds, Meta(description="Longest silence inside an answer.")
    ] = 60.0
    answer_bytes_max: Annotated[
        Count, Meta(description="Longest whole answer; a longer one is a failed call.")
    ] = 256 * 1024 * 1024
    health_seconds: Annotated[
        Seconds, Meta(description="How often each model server is asked for its health.")
    ] = 1.0


class FleetSettings(_Branch, frozen=True):
    """The processes that we start ourselves."""

    gateways: Annotated[
        int,
        Meta(
            ge=1,
            le=64,
            description="How many gateways to start on this machine; more than one stand behind "
            "nginx, on Postgres and Valkey.",
        ),
    ] = 1
    engines: Annotated[int, Meta(ge=0, le=64, description="How many of our engines to start.")] = 1
    tags: Annotated[
        tuple[str, ...],
        Meta(description="Tags of the engines that we start."),
    ] = ()
    restart_seconds_min: Annotated[
        Seconds, Meta(description="Wait before a dead server is started again, at first.")
    ] = 0.5
    restart_seconds_max: Annotated[Seconds, Meta(description="The wait doubles up to this.")] = 30.0
    stop_seconds: Annotated[
        Seconds, Meta(description="Time between the polite stop signal and the forceful one.")
    ] = 15.0
    start_seconds_max: Annotated[
        Seconds,
        Meta(
            description="A gateway of several, nginx, Postgres or Valkey that has not answered "
            "this long after its start is ended and started again; raise it where Postgres may "
            "need longer to recover."
        ),
    ] = 300.0
    silent_seconds: Annotated[
        Seconds,
        Meta(
            description="A process of ours, a model server too, that has answered and then does "
            "not for this long is ended and started again. Keep it longer than "
            "`gateway.drain_seconds`."
        ),
    ] = 20.0


class FileSettings(_Branch, frozen=True):
    """Files that callers upload, and those that batches write."""

    file_bytes_max: Annotated[
        Count, Meta(description="Longest file; longer ones get 413 file_too_large.")
    ] = 200 * 1024 * 1024
    project_bytes_max: Annotated[
        Count, Meta(description="All files of a project; more get 413 file_storage_limit.")
    ] = 10 * 1024 * 1024 * 1024
    uploads_max: Annotated[
        Count, Meta(description="Uploads in progress in all; further ones get 503.")
    ] = 16
    silence_seconds: Annotated[
        Seconds, Meta(description="An upload that sends nothing for this long is given up.")
    ] = 60.0
    sweep_seconds: Annotated[
        Seconds, Meta(description="How often files whose time has passed are looked for.")
    ] = 60.0


class BatchSettings(_Branch, frozen=True):
    """Batch inference: what a batch may hold, and how much its lines may take of the machine."""

    lines_max: Annotated[Count, Meta(description="Requests that one batch may hold.")] = 50_000
    line_bytes_max: Annotated[Count, Meta(description="Longest line of an input file.")] = (
        4 * 1024 * 1024
    )
    errors_max: Annotated[
        Count,
        Meta(description="Faults of an input file that are listed; the rest is not looked for."),
    ] = 100
    open_max: Annotated[
        Count, Meta(description="Batches of a project that have not ended; further ones get 429.")
    ] = 100
    running_max: Annotated[
        Count, Meta(description="Batches that are worked on at once; the others wait their turn.")
    ] = 16
    window_seconds: Annotated[
        Seconds, Meta(description='How long the completion window "24h" is.')
    ] = 86_400.0
    lines_in_flight_max: Annotated[
        Count, Meta(description="Lines that run at the same time while nobody else asks.")
    ] = 8
    lines_beside_interactive: Annotated[
        Count, Meta(description="Lines that may run beside interactive answers.")
    ] = 1
    yield_seconds: Annotated[
        Seconds,
        Meta(
            description="How long further lines may go on when an interactive answer begins; then "
            "the youngest are stopped, and run again later."
        ),
    ] = 2.0
    calm_seconds: Annotated[
        Seconds,
        Meta(
            description="How long nobody must have asked before further lines begin again: work "
            "that is begun in the pauses of a conversation would be thrown away."
        ),
    ] = 5.0
    poll_seconds: Annotated[
        Seconds, Meta(description="How often the number of lines is fitted to what else runs.")
    ] = 0.2
    line_seconds_max: Annotated[
        Seconds, Meta(description="Longest wait for the answer to one line.")
    ] = 600.0
    line_attempts_max: Annotated[
        Count, Meta(description="How often a line is tried when the model server breaks.")
    ] = 3
    retry_seconds_min: Annotated[
        Seconds, Meta(description="Wait after a failure of the model server, at first.")
    ] = 1.0
    retry_seconds_max: Annotated[Seconds, Meta(description="The wait doubles up to this.")] = 60.0
    budget_wait_seconds: Annotated[
        Seconds,
        Meta(
            description="How long a batch waits for reserved money to come back before the rest "
            "of its lines fail with insufficient_quota."
        ),
    ] = 30.0
    priority: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Class that lines have in the model server's queue; interactive answers "
            "have 0, and lower comes first. 0 sends none, for servers that refuse it.",
        ),
    ] = 100


class LogSettings(_Branch, frozen=True):
    """Structured logs."""

    target: Annotated[
        str,
        Meta(
            description="Where the gateway's log goes: `file` (run/gateway.log) or `stderr`.",
            pattern="^(file|stderr)$",
        ),
    ] = "file"
    file_bytes_max: Annotated[
        Count, Meta(description="A log file that grows past this is moved aside, as `….1`.")
    ] = 16 * 1024 * 1024
    file_seconds: Annotated[
        Seconds, Meta(description="So is one that was written to for this long.")
    ] = 86_400.0
    files_kept: Annotated[
        int, Meta(ge=1, le=1_000, description="How many files that were moved aside are kept.")
    ] = 10
    kept_seconds: Annotated[
        Seconds, Meta(description="Files that were moved aside longer ago than this are deleted.")
    ] = 30 * 86_400.0
    hidden_fields: Annotated[
        tuple[str, ...],
        Meta(
            description="Fields that no line has, such as `user`, `key` or `error`. Prompts, "
            "answers and secrets are in none anyway."
        ),
    ] = ()
    level: Annotated[
        str, Meta(description="Least severe level.", pattern="^(debug|info|warning|error)$")
    ] = "info"


class Settings(_Branch, frozen=True):
    """Everything that can be set."""

    gateway: GatewaySettings = GatewaySettings()
    identity: IdentitySettings = IdentitySettings()
    limits: LimitSettings = LimitSettings()
    engine: EngineSettings = EngineSettings()
    upstreams: UpstreamSettings = UpstreamSettings()
    moderation: ModerationSettings = ModerationSettings()
    ledger: LedgerSettings = LedgerSettings()
    storage: StorageSettings = StorageSettings()
    chat: ChatSettings = ChatSettings()
    fleet: FleetSettings = FleetSettings()
    files: FileSettings = FileSettings()
    batches: BatchSettings = BatchSettings()
    jobs: JobSettings = JobSettings()
    logs: LogSettings = LogSettings()
    telemetry: TelemetrySettings = TelemetrySettings()


def home_folder(environment: Mapping[str, str]) -> Path:
    """The folder that holds all state: `TOKENYARD_HOME`, or `~/.tokenyard`."""
    named = environment.get(HOME_VARIABLE)
    return Path(named).expanduser().absolute() if named else Path.home() / ".tokenyard"


def load_settings(home: Path, environment: Mapping[str, str]) -> Settings:
    """Read the file and the environment; raises StartError naming the key that is wrong."""
    path = home / FILE_NAME
    try:
        tree: dict[str, Any] = tomllib.loads(path.read_text()) if path.exists() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise StartError(f"{path} cannot be read: {error}. Mend or remove the file.") from None
    _merge_environment(tree, environment)
    try:
        return msgspec.convert(tree, Settings, strict=False)
    except msgspec.ValidationError as error:
        text = str(error).replace("`$.", "`")
        raise StartError(f"A setting is wrong: {text}. See docs/reference/settings.md.") from None


def _merge_environment(tree: dict[str, Any], environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        if not name.startswith(ENVIRONMENT_PREFIX) or name in NO_SETTINGS:
            continue
        *branches, leaf = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        node = tree
        for branch in branches:
            node = node.setdefault(branch, {})
            if not isinstance(node, dict):
                raise StartError(f"{name} does not fit: {branch} is not a section of the file.")
        node[leaf] = value
