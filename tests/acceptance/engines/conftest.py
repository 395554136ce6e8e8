"""Whole yards with an engine that is not ours."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from acceptance import yard as yards
from acceptance.conftest import assert_clean_stop, make_home
from acceptance.yard import Yard

Opener = Callable[..., Yard]


@pytest.fixture(scope="module")
def llamacpp(models_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """One yard with llama.cpp for all tests of a module; its end is a test too."""
    folder = tmp_path_factory.mktemp("llamacpp")
    home = make_home(models_folder, folder / "home")
    started = yards.start(home, folder, "--engine", "llamacpp")
    try:
        started.wait_until_ready()
        yield started
        assert_clean_stop(started)
    finally:
        started.destroy()


@pytest.fixture
def open_yard(tmp_path: Path) -> Iterator[Opener]:
    """Starts a yard whose data folder holds only these settings."""
    started: list[Yard] = []

    def open_one(settings: str, *, wait: bool = True, **extra: str) -> Yard:
        home = tmp_path / f"home{len(started)}"
        home.mkdir()
        (home / "settings.toml").write_text(settings)
        made = yards.start(home, tmp_path / f"yard{len(started)}", extra=extra)
        started.append(made)
        if wait:
            made.wait_until_ready()
        return made

    yield open_one
    for made in started:
        made.destroy()
