"""Names of models that lead to others: aliases, canaries by weight, and what stands in.

Decides by names and one random number. A name that is no route leads to itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """A model that a route leads to, with its share of the requests."""

    model: str
    weight: int = 1


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """Where requests for a name go, and which models are asked when those cannot answer.

    hedge_milliseconds: of silence after which a second server is asked as well; 0 for never.
    tags: that a server must have to be asked under this name.
    """

    name: str
    targets: tuple[Target, ...]
    fallbacks: tuple[str, ...] = ()
    hedge_milliseconds: int = 0
    tags: tuple[str, ...] = ()


def resolve(routes: Mapping[str, ModelRoute], name: str, draw: float) -> str:
    """The model to ask for a name; draw: a random number, 0 <= draw < 1. Routes do not chain."""
    route = routes.get(name)
    if route is None or not route.targets:
        return name
    point = draw * sum(target.weight for target in route.targets)
    for target in route.targets:
        point -= target.weight
        if point < 0:
            return target.model
    return route.targets[-1].model


def fallbacks_of(routes: Mapping[str, ModelRoute], model: str) -> tuple[str, ...]:
    """The models that may stand in for one, by the route of its name or that leads to it."""
    route = _route_of(routes, model)
    return () if route is None else tuple(name for name in route.fallbacks if name != model)


def hedge_of(routes: Mapping[str, ModelRoute], model: str) -> float | None:
    """Seconds of silence after which a second server is asked for a model; None for never."""
    route = _route_of(routes, model)
    return (
        route.hedge_milliseconds / 1000 if route is not None and route.hedge_milliseconds else None
    )


def _route_of(routes: Mapping[str, ModelRoute], model: str) -> ModelRoute | None:
    """The route of that name, or else the first that leads to it."""
    own = routes.get(model)
    if own is not None:
        return own
    return next(
        (
            route
            for route in routes.values()
            if any(target.model == model for target in route.targets)
        ),
        None,
    )
