"""One process per data folder; ids are of their kind and do not repeat."""

import os
from pathlib import Path

import pytest

from tokenyard.runtime.lifecycle import hold_home
from tokenyard.runtime.randomness import SeededRandomness, SystemRandomness, base62, mint
from tokenyard.vocabulary.errors import StartError
from tokenyard.vocabulary.ids import IdPrefix


def test_home_is_held_by_one_and_given_back(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    with hold_home(home), pytest.raises(StartError, match=str(os.getpid())), hold_home(home):
        pass
    with hold_home(home):
        pass


def test_home_is_private_even_when_it_was_there_before(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with hold_home(tmp_path):
        assert tmp_path.stat().st_mode & 0o077 == 0


def test_home_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(StartError, match="TOKENYARD_HOME"), hold_home(file / "home"):
        pass


def test_ids_have_their_prefix_and_differ() -> None:
    minted = {mint(IdPrefix.RESPONSE, SystemRandomness()) for _ in range(1000)}
    assert len(minted) == 1000
    assert all(one.startswith("resp_") and len(one) == 29 for one in minted)


def test_same_seed_gives_the_same_run() -> None:
    first, second = SeededRandomness(7), SeededRandomness(7)
    assert [first.bytes(5), first.uniform(0, 1)] == [second.bytes(5), second.uniform(0, 1)]
    assert SeededRandomness(8).bytes(5) != SeededRandomness(7).bytes(5)


def test_base62_has_the_length_asked_for() -> None:
    spelled = base62(bytes(range(40)), 43)
    assert len(spelled) == 43
    assert spelled.isalnum()
    assert base62(b"", 3) == "000"
