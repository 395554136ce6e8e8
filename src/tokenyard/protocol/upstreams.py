"""Model servers and routes of models on the wire, for operators and the page of models."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Name = Annotated[str, Meta(pattern=r"^(?!engine-)[a-z0-9][a-z0-9._-]{0,62}$")]
ModelId = Annotated[str, Meta(min_length=1, max_length=500)]
Kind = Literal["own", "llamacpp", "vllm", "openai", "openai-platform", "anthropic"]
Tags = Annotated[
    list[Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]], Meta(max_length=20)
]
Weight = Annotated[int, Meta(ge=0, le=1_000_000)]


class LoadBody(msgspec.Struct):
    """How busy it says that it is."""

    running: int
    waiting: int
    kv_share: float
    first_token_seconds: float
    prefix_hit_share: float


class UpstreamBody(msgspec.Struct):
    """A model server. origin: `engine` is started by us, `settings` and `api` by others."""

    name: str
    origin: Literal["engine", "settings", "api"]
    health: Literal["ready", "loading", "down", "disabled"]
    breaker: Literal["closed", "open", "trying"]
    models: list[str]
    in_flight: int
    weight: int
    priority: int
    load: LoadBody | None = None
    url: str | None = None
    kind: str | None = None
    has_key: bool = False
    tags: list[str] = []
    object: Literal["upstream"] = "upstream"


class UpstreamList(msgspec.Struct):
    """Every model server that this gateway knows."""

    data: list[UpstreamBody]
    object: Literal["list"] = "list"


class UpstreamRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Add a server, or change the one of that name.

    api_key: left out keeps the one that it has, empty takes it away; it is never shown again.
    models: left out keeps those that it has; empty means all that the server lists.
    """

    name: Name
    url: Annotated[str, Meta(min_length=1, max_length=2000)]
    kind: Kind = "openai"
    models: Annotated[list[ModelId], Meta(max_length=1000)] | msgspec.UnsetType = msgspec.UNSET
    api_key: Annotated[str, Meta(max_length=4000)] | None = None
    weight: Weight = 1
    priority: Annotated[int, Meta(ge=0, le=1000)] = 0
    disabled: bool = False
    # What it is, such as its region; requests may ask for servers with some of them.
    tags: Tags = []


class TargetBody(msgspec.Struct, forbid_unknown_fields=True):
    """A model that a route leads to, with its share."""

    model: ModelId
    weight: Weight = 1


class RouteBody(msgspec.Struct, forbid_unknown_fields=True):
    """A name that leads to models by their weights, and the models that stand in for them."""

    name: ModelId
    targets: Annotated[list[TargetBody], Meta(max_length=100)] = []
    fallbacks: Annotated[list[ModelId], Meta(max_length=20)] = []
    # Of silence, after which a second server is asked as well; 0 for never.
    hedge_milliseconds: Annotated[int, Meta(ge=0, le=600_000)] = 0
    # That a server must have to be asked under this name.
    tags: Tags = []


class RouteList(msgspec.Struct):
    """Every route, those of the settings too."""

    data: list[RouteBody]
    object: Literal["list"] = "list"


class Removed(msgspec.Struct):
    """The answer to a deletion."""

    name: str
    deleted: bool = True
