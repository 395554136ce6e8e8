"""Who is asked, by table and by property."""

from hypothesis import given
from hypothesis import strategies as st

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


candidates = st.lists(
    st.builds(
        Candidate,
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
