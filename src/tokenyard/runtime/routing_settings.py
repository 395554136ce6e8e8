"""Settings of routing: names of models, tries, breakers, and where servers may lie."""

from typing import Annotated

from msgspec import Meta

from tokenyard.runtime.branch import Branch, Count, Seconds


class TargetSettings(Branch, frozen=True):
    """A model that a route leads to."""

    model: Annotated[str, Meta(description="The model to ask.", min_length=1)]
    weight: Annotated[
        int, Meta(ge=0, le=1_000_000, description="Its share of the requests among the targets.")
    ] = 1


class RouteSettings(Branch, frozen=True):
    """A name for models: an alias, a canary, or a model with others that stand in for it."""

    name: Annotated[str, Meta(description="The name that callers use.", min_length=1)]
    targets: Annotated[
        tuple[TargetSettings, ...], Meta(description="Where it leads; none means to itself.")
    ] = ()
    fallbacks: Annotated[
        tuple[str, ...], Meta(description="Models to ask when those cannot answer, in order.")
    ] = ()
    hedge_milliseconds: Annotated[
        int,
        Meta(
            ge=0,
            le=600_000,
            description="When a streamed answer has not begun after this long, a second server of "
            "the model is asked as well, and the first to speak writes it; 0 never asks twice.",
        ),
    ] = 0
    tags: Annotated[
        tuple[str, ...],
        Meta(description="Tags that a server must have to be asked under this name."),
    ] = ()


class RoutingSettings(Branch, frozen=True):
    """How a request finds a model server."""

    routes: Annotated[
        tuple[RouteSettings, ...],
        Meta(description="Aliases and fallbacks: `[[upstreams.routing.routes]]` in the file."),
    ] = ()
    attempts_max: Annotated[
        int,
        Meta(
            ge=1,
            le=10,
            description="How many servers are asked, one after the other, before the first token; "
            "fallbacks count.",
        ),
    ] = 3
    hedge_share: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="The share of the calls of routes with `hedge_milliseconds` for which a "
            "second server may be asked.",
        ),
    ] = 0.05
    affinity: Annotated[
        bool,
        Meta(
            description="Whether requests with the same beginning go to the same server, whose "
            "prefix cache then has it, while that one is not busier than the others."
        ),
    ] = True
    affinity_bytes: Annotated[
        Count, Meta(description="How much of the beginning has to be the same.")
    ] = 1024
    breaker_failures: Annotated[
        Count, Meta(description="Failures in a row after which a server is not asked any more.")
    ] = 5
    breaker_seconds_min: Annotated[
        Seconds, Meta(description="For how long it is not asked, at first.")
    ] = 1.0
    breaker_seconds_max: Annotated[Seconds, Meta(description="That doubles up to this.")] = 60.0
    total_seconds: Annotated[
        Seconds, Meta(description="Longest time that one answer may take from beginning to end.")
    ] = 3600.0
    load_seconds: Annotated[
        Seconds, Meta(description="How often each server is asked how busy it is.")
    ] = 2.0
    allowed_hosts: Annotated[
        tuple[str, ...],
        Meta(
            description="Hosts, as host or host:port, at which servers may lie that are added "
            "through the API; no others. Those of the settings file need no entry."
        ),
    ] = ()
    servers_seconds: Annotated[
        Seconds, Meta(description="How often servers and routes are read anew from the database.")
    ] = 2.0
