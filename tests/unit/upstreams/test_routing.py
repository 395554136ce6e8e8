"""Who is asked, by table and by property."""

import math

from hypothesis import given
from hypothesis import strategies as st

from tokenyard.upstreams.rules.aliases import ModelRoute, Target, fallbacks_of, resolve
from tokenyard.upstreams.rules.routing import Candidate, Chosen, NoChoice, Readiness, choose

READY, LOADING, DOWN = Readiness.READY, Readiness.LOADING, Readiness.DOWN
M = frozenset({"m"})


def test_table() -> None:
    busy = Candidate("busy", READY, M, 5)
    idle = Candidate("idle", READY, M, 1)
    other = Candidate("other", READY, frozenset({"n"}), 0)
    loading = Candidate("loading", LOADING, M, 0)
    down = Candidate("down", DOWN, M, 0)
    assert choose([], "m") is NoChoice.UNKNOWN_MODEL
    assert choose([other], "m") is NoChoice.UNKNOWN_MODEL
    assert choose([down], "m") is NoChoice.DOWN
    assert choose([down, loading], "m") is NoChoice.LOADING
    assert choose([down, loading, busy, other], "m") == Chosen("busy")
    assert choose([busy, idle, other], "m") == Chosen("idle")
    assert choose([other, busy], "n") == Chosen("other")


def equal(name: str, readiness: Readiness, models: frozenset[str], in_flight: int) -> Candidate:
    """One of the usual weight and priority."""
    return Candidate(name, readiness, models, in_flight)


candidates = st.lists(
    st.builds(
        equal,
        st.sampled_from("abcdef"),
        st.sampled_from(Readiness),
        st.sampled_from([M, frozenset({"n"}), frozenset({"m", "n"})]),
        st.integers(0, 9),
    ),
    unique_by=lambda one: one.name,
)


@given(candidates)
def test_chosen_is_ready_has_the_model_and_nobody_fit_is_less_busy(
    offered: list[Candidate],
) -> None:
    choice = choose(offered, "m")
    fit = [one for one in offered if one.readiness is READY and "m" in one.models]
    if not fit:
        assert isinstance(choice, NoChoice)
        return
    assert isinstance(choice, Chosen)
    (chosen,) = [one for one in fit if one.name == choice.name]
    assert chosen.in_flight == min(one.in_flight for one in fit)
    assert choose(list(reversed(offered)), "m") == choice


def fleet(*weights: int, in_flight: int = 0, priority: int = 0) -> list[Candidate]:
    return [
        Candidate(f"s{number}", READY, M, in_flight, weight, priority)
        for number, weight in enumerate(weights)
    ]


def test_lower_priority_numbers_first_and_the_others_when_none_of_them_can() -> None:
    first, second = fleet(1, priority=0), fleet(1, 1, priority=1)[1:]
    assert choose([*second, *first], "m") == Chosen("s0")
    away = [Candidate("s0", DOWN, M, 0)]
    assert choose([*second, *away], "m") == Chosen("s1")


def test_a_canary_gets_its_share() -> None:
    draws = [choose(fleet(95, 5), "m", draw=number / 1000) for number in range(1000)]
    assert draws.count(Chosen("s1")) == 50
    assert choose(fleet(1, 0), "m", draw=0.999) == Chosen("s0")
    assert choose(fleet(0), "m") == Chosen("s0"), "the only one there is"


def test_the_same_beginning_goes_to_the_same_server() -> None:
    servers = fleet(1, 1, 1, 1)
    names = [b"%d" % number for number in range(400)]
    first = [choose(servers, "m", affinity=name) for name in names]
    assert first == [choose(servers[::-1], "m", affinity=name) for name in names]
    counts = [first.count(Chosen(server.name)) for server in servers]
    assert min(counts) > 60
    # A server that goes away moves only its own.
    left = [choose(servers[:3], "m", affinity=name) for name in names]
    assert all(
        after == before for before, after in zip(first, left, strict=True) if before != Chosen("s3")
    )


@given(st.lists(st.integers(0, 50), min_size=2, max_size=8), st.binary(min_size=1, max_size=8))
def test_nobody_gets_more_than_its_bound_for_what_is_cached_there(
    loads: list[int], affinity: bytes
) -> None:
    servers = [Candidate(f"s{n}", READY, M, load) for n, load in enumerate(loads)]
    choice = choose(servers, "m", affinity=affinity)
    assert isinstance(choice, Chosen)
    (chosen,) = [one for one in servers if one.name == choice.name]
    assert chosen.in_flight < math.ceil(1.25 * (sum(loads) + 1) / len(loads))


def test_names_lead_to_models_by_their_shares() -> None:
    route = ModelRoute("chat", (Target("old", 3), Target("new", 1)), ("spare",))
    routes = {"chat": route, "solo": ModelRoute("solo", (), ("spare",))}
    assert [resolve(routes, "chat", draw) for draw in (0.0, 0.74, 0.75, 0.99)] == [
        "old", "old", "new", "new",
    ]  # fmt: skip
    assert resolve(routes, "other", 0.5) == "other"
    assert resolve(routes, "solo", 0.5) == "solo"
    assert fallbacks_of(routes, "old") == ("spare",)
    assert fallbacks_of(routes, "solo") == ("spare",)
    assert fallbacks_of(routes, "spare") == ()
