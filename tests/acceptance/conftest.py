"""One real Tokenyard for all tests that only talk to it, and fresh ones for those that break it."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest

from acceptance import yard as yards
from acceptance.yard import Yard

SKIP_BROWSER = "TOKENYARD_SKIP_BROWSER"
# A host that never is there, for a model server that people add.
SETTINGS = """\
[upstreams.routing]
allowed_hosts = ["models.invalid"]
"""
YardMaker = Callable[..., Yard]


@pytest.fixture(scope="session")
def models_folder() -> Path:
    """The models that `make test` (or `tokenyard models pull`) has put in the usual data folder."""
    named = os.environ.get("TOKENYARD_HOME")
    home = Path(named).expanduser() if named else Path.home() / ".tokenyard"
    folder = home / "models"
    if not any(folder.rglob("*.gguf")):
        pytest.fail(f"there is no model under {folder}; run: tokenyard models pull", pytrace=False)
    return folder


def make_home(models_folder: Path, home: Path) -> Path:
    """A new data folder that holds the models, by link where the file system can."""

    def place(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)

    shutil.copytree(models_folder, home / "models", copy_function=place)
    return home


def assert_clean_stop(yard: Yard) -> None:
    """Ctrl-C ends it with status 0 and leaves nothing running."""
    assert yard.processes()
    yard.interrupt()
    status = yard.wait_for_end()
    left = yard.processes()
    assert not left, f"left running: {left}\n{yard.output()}"
    assert status == 0, yard.output()


@pytest.fixture(scope="session")
def yard(models_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """The one that most tests share. Its end is a test too."""
    folder = tmp_path_factory.mktemp("yard")
    # Titles by the model would be generations beside those that tests count.
    titles = {"TOKENYARD_CHAT__TITLES": "nobody"}
    home = make_home(models_folder, folder / "home")
    (home / "settings.toml").write_text(SETTINGS, encoding="utf-8")
    started = yards.start(home, folder, extra=titles)
    try:
        started.wait_until_ready()
        yield started
        assert_clean_stop(started)
    finally:
        started.destroy()


@pytest.fixture
def fresh_home(models_folder: Path, tmp_path: Path) -> Path:
    """A data folder of one test's own, with nothing but the models in it."""
    return make_home(models_folder, tmp_path / "home")


@pytest.fixture
def make_yard(fresh_home: Path, tmp_path: Path) -> Iterator[YardMaker]:
    """Starts yards for one test: `make_yard()` waits until ready, `wait=False` does not."""
    started: list[Yard] = []

    def make(*arguments: str, wait: bool = True, port: int = 0, **extra: str) -> Yard:
        folder = tmp_path / f"yard{len(started)}"
        made = yards.start(fresh_home, folder, *arguments, port=port, extra=extra)
        started.append(made)
        if wait:
            made.wait_until_ready()
        return made

    yield make
    for made in started:
        made.destroy()


@pytest.fixture
def client(yard: Yard) -> Iterator[openai.OpenAI]:
    """OpenAI's Python client on the shared yard; it never retries, so that a failure is seen."""
    base = f"{yard.url}/v1"
    with openai.OpenAI(base_url=base, api_key=yard.api_key, max_retries=0, timeout=120) as made:
        yield made


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium; without one the browser tests fail, unless left out aloud."""
    if os.environ.get(SKIP_BROWSER) == "1":
        pytest.skip(f"{SKIP_BROWSER}=1: the page was NOT tested in a browser")
    for name in (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name) if name else None
        if found:
            return found
    pytest.fail(
        f"there is no Chromium; install it, name it with CHROMIUM=/path, or set {SKIP_BROWSER}=1",
        pytrace=False,
    )
