"""The legal life of a job."""

import pytest

from tokenyard.jobs.rules.states import State, advance, holds_seats, is_final, may_follow
from tokenyard.vocabulary.errors import Conflict


def reachable(start: State) -> set[State]:
    seen = {start}
    while True:
        more = {after for state in seen for after in State if may_follow(state, after)} - seen
        if not more:
            return seen
        seen |= more


def test_every_state_is_reached_from_the_first() -> None:
    assert reachable(State.HELD) == set(State)


@pytest.mark.parametrize("state", list(State))
def test_only_finished_jobs_never_run_again(state: State) -> None:
    may_run = State.RUNNING in reachable(state)
    assert may_run == (state not in {State.SUCCEEDED, State.CANCELLED})


@pytest.mark.parametrize("state", list(State))
def test_nothing_starts_without_passing_starting(state: State) -> None:
    assert may_follow(state, State.RUNNING) == (state is State.STARTING)


def test_an_illegal_step_is_a_conflict_in_words() -> None:
    with pytest.raises(Conflict, match="succeeded cannot become running"):
        advance(State.SUCCEEDED, State.RUNNING)
    assert advance(State.QUEUED, State.STARTING) is State.STARTING


def test_final_states_hold_no_seats() -> None:
    assert not any(holds_seats(state) for state in State if is_final(state))
    assert {s for s in State if holds_seats(s)} == {
        State.STARTING, State.RUNNING, State.STOPPING
    }  # fmt: skip
