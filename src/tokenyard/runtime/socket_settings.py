"""Settings of WebSocket connections."""

from typing import Annotated

from msgspec import Meta

from tokenyard.runtime.branch import Branch, Count, Seconds


class SocketSettings(Branch, frozen=True):
    """WebSocket connections to `/v1/responses`."""

    connections_max: Annotated[
        Count, Meta(description="Most open ones; further ones get 503 `sockets_limit`.")
    ] = 10_000
    streams_max: Annotated[
        Count,
        Meta(
            description="Answers and waiting frames of one connection; further frames get "
            "`socket_streams_limit`."
        ),
    ] = 32
    frame_bytes_max: Annotated[
        Count, Meta(description="Longest message; a longer one closes the connection with 1009.")
    ] = 4 * 1024 * 1024
    ping_seconds: Annotated[Seconds, Meta(description="How often the other side is pinged.")] = 15.0
    pong_seconds: Annotated[
        Seconds, Meta(description="A side that does not answer a ping in this time is gone.")
    ] = 20.0
    seconds_max: Annotated[
        Seconds,
        Meta(description="How long one connection may last, give or take a fifth; then 1001."),
    ] = 3_300.0
    unacked_events_max: Annotated[
        Count,
        Meta(description="Events of one answer that may be on their way, where acks were agreed."),
    ] = 256
    unacked_bytes_max: Annotated[Count, Meta(description="The same in bytes.")] = 256 * 1024
    ack_seconds: Annotated[
        Seconds,
        Meta(description="An event without an ack for so long closes the connection with 4408."),
    ] = 30.0
