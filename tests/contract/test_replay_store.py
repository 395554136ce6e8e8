"""Every place that keeps idempotency keys."""

from contract.conftest import Store
from tokenyard.vocabulary.ids import ProjectId
from tokenyard.vocabulary.replays import Claim, Kept

P, Q = ProjectId("proj_a"), ProjectId("proj_b")
ANSWER = Kept(200, (("content-type", "text/plain"),), b"\x00body")


async def test_a_key_is_claimed_once_in_its_project_until_it_expires(store: Store) -> None:
    keys = store.replays
    assert await keys.claim(P, "k", "f", now=1.0, until=5.0) is None
    assert await keys.claim(P, "k", "g", now=2.0, until=6.0) == Claim("f", None)
    assert await keys.claim(Q, "k", "g", now=2.0, until=6.0) is None
    await keys.keep(P, "k", ANSWER, until=9.0)
    assert await keys.claim(P, "k", "f", now=8.0, until=9.0) == Claim("f", ANSWER)
    # What was answered is not given up any more.
    await keys.sweep(8.0)
    assert await keys.claim(P, "k", "f", now=8.0, until=9.0) == Claim("f", ANSWER)
    assert await keys.claim(P, "k", "h", now=9.0, until=19.0) is None
    await keys.free(P, "k")
    assert await keys.claim(P, "k", "i", now=9.0, until=19.0) is None
    await keys.sweep(20.0)
    assert await keys.claim(P, "k", "j", now=3.0, until=19.0) is None
