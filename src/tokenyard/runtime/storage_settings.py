"""Settings of the database, and of what several processes share."""

from typing import Annotated

from msgspec import Meta

from tokenyard.runtime.branch import Branch, Count, Seconds


class StorageSettings(Branch, frozen=True):
    """The database."""

    database_url: Annotated[
        str,
        Meta(
            description="Where the truth is kept: `postgresql://user:password@host:port/name`, or "
            "`sqlite:///<file>`; empty is a SQLite file in the data folder.",
            pattern=r"^((postgresql|sqlite)://\S+)?$",
        ),
    ] = ""

    queued_writes_max: Annotated[
        Count, Meta(description="Writes that may wait for the disk; further ones get 503.")
    ] = 10_000
    batch_writes_max: Annotated[
        Count, Meta(description="Writes that are committed together at most.")
    ] = 256
    readers: Annotated[
        int, Meta(ge=1, le=64, description="Connections that read beside the one that writes.")
    ] = 4
    queued_reads_max: Annotated[
        Count, Meta(description="Reads that may wait for a connection; further ones get 503.")
    ] = 10_000
    durability: Annotated[
        str,
        Meta(
            description="What a commit survives: `full` also the loss of power, `normal` the death "
            "of the process only.",
            pattern="^(full|normal)$",
        ),
    ] = "full"
    busy_seconds: Annotated[
        Seconds,
        Meta(description="How long to wait while another process writes, or Postgres is away."),
    ] = 10.0
    connect_seconds: Annotated[
        int, Meta(ge=1, description="Postgres: how long to try one connection.")
    ] = 2
    stalled_seconds: Annotated[
        Seconds,
        Meta(
            description="Postgres: a statement that takes longer is ended, and a server that does "
            "not answer for longer is given up."
        ),
    ] = 30.0

    redis_url: Annotated[
        str,
        Meta(
            description="A Redis or Valkey server that several gateways share, "
            "`redis://[:password@]host:port[/number]` (`rediss:` with TLS); empty for none.",
            pattern=r"^((redis|rediss|unix)://\S+)?$",
        ),
    ] = ""
    redis_connect_seconds: Annotated[Seconds, Meta(description="Redis: time to connect.")] = 2.0
    redis_answer_seconds: Annotated[
        Seconds, Meta(description="Redis: how long a command, or a free connection, may take.")
    ] = 3.0
    redis_connections_max: Annotated[
        Count, Meta(description="Redis: connections of one process at most.")
    ] = 32
