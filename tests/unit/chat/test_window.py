"""What stays of a history that does not fit, and how full a window is."""

from hypothesis import given
from hypothesis import strategies as st

from tokenyard.chat.rules.window import Fullness, bound_tokens, drop_oldest, judge
from tokenyard.vocabulary.messages import Role

TURNS = st.lists(
    st.tuples(st.integers(0, 50), st.sampled_from([Role.USER, Role.ASSISTANT])), max_size=20
)


@given(TURNS, st.integers(0, 500))
def test_the_fewest_old_turns_go_that_save_enough(
    turns: list[tuple[int, Role]], excess: int
) -> None:
    sizes, roles = [size for size, _ in turns], [role for _, role in turns]
    dropped = drop_oldest(sizes, roles, excess)
    if dropped < len(turns):
        assert sum(sizes[:dropped]) >= excess
        assert roles[dropped] is Role.USER
    for fewer in range(dropped):
        assert sum(sizes[:fewer]) < excess or roles[fewer] is not Role.USER


def test_the_bound_is_never_too_low() -> None:
    assert bound_tokens(["", "äöü"]) == 32 + 32 + 6


def test_how_full_a_window_is() -> None:
    assert [judge(used, 100) for used in (0, 79, 80, 94, 95, 100, 101)] == [
        Fullness.OK, Fullness.OK, Fullness.WARNING, Fullness.WARNING,
        Fullness.CRITICAL, Fullness.CRITICAL, Fullness.FULL,
    ]  # fmt: skip
