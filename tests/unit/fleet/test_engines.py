"""Which engine is started and with what; what is missing is told before anything runs."""

import socket
from pathlib import Path

import pytest

from support.tiny_model import write_model
from tokenyard.engine.catalogue import find_file
from tokenyard.fleet.engines.choice import check_startable, drawing_defaults, served_model
from tokenyard.fleet.engines.command import fill_in, program_of
from tokenyard.fleet.engines.contract import announce, free_port, url_of
from tokenyard.fleet.engines.llamacpp import busy, context_tokens_of
from tokenyard.runtime.engine_settings import EngineSettings
from tokenyard.vocabulary.errors import NotFound, StartError

# A token of the tiny model in the cache: 2 layers x 2 KV heads x 8 wide x key and value x fp16.
TOKEN_BYTES = 2 * 2 * 8 * 2 * 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "Tiny.gguf")


@pytest.mark.parametrize("kind", ["own", "llamacpp"])
def test_a_file_is_served_under_its_own_name(kind: str, model: Path, tmp_path: Path) -> None:
    settings = EngineSettings(kind=kind, model=str(model))
    assert served_model(settings, tmp_path) == "tiny"
    check_startable(settings, tmp_path)
    defaults = drawing_defaults(settings, tmp_path)
    assert defaults is not None
    assert (defaults.temperature, defaults.top_p) == (1.0, 1.0)


@pytest.mark.parametrize("kind", ["own", "llamacpp"])
def test_a_missing_model_is_told(kind: str, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="models pull"):
        check_startable(EngineSettings(kind=kind), tmp_path)
    with pytest.raises(NotFound, match="nothing-like-it"):
        check_startable(EngineSettings(kind=kind, model="nothing-like-it"), tmp_path)


@pytest.mark.parametrize(
    ("kind", "package", "remedy"),
    [("own", "torch", "make up ENGINE=own"), ("llamacpp", "xllamacpp", "make up ENGINE=llamacpp")],
)
def test_a_missing_package_is_told_with_its_remedy(
    kind: str,
    package: str,
    remedy: str,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = {"torch", "xllamacpp"} - {package}
    monkeypatch.setattr(
        "tokenyard.fleet.engines.choice.find_spec", lambda name: name if name in found else None
    )
    with pytest.raises(StartError, match=remedy) as caught:
        check_startable(EngineSettings(kind=kind, model=str(model)), tmp_path)
    assert package in caught.value.message


def test_a_command_s_model_is_its_own_business(tmp_path: Path) -> None:
    settings = EngineSettings(kind="vllm", model="Org/Any-1B", command="sh {port}")
    check_startable(settings, tmp_path)
    assert served_model(settings, tmp_path) == "Org/Any-1B"
    assert drawing_defaults(settings, tmp_path) is None


def test_words_of_a_command_are_filled_in_and_never_split_again() -> None:
    command = "serve {model} --port={port} --more '{\"a\": 1}' 'two words'"
    assert fill_in(command, port=7, model="a b; rm -rf /") == (
        "serve",
        "a b; rm -rf /",
        "--port=7",
        "--more",
        '{"a": 1}',
        "two words",
    )
    with pytest.raises(StartError, match=r"engine\.command"):
        fill_in("serve 'open", port=7, model="m")


def test_a_program_that_is_not_there_is_told_by_name() -> None:
    assert program_of(("sh",)).endswith("/sh")
    with pytest.raises(StartError, match="no-such-program"):
        program_of(("no-such-program", "x"))
    with pytest.raises(StartError, match="nothing"):
        program_of(())


def test_the_cache_of_llamacpp_stays_within_the_memory_that_is_set(model: Path) -> None:
    file = find_file(str(model), model.parent)

    def tokens(size: int) -> int:
        return context_tokens_of(file, EngineSettings(kv_cache_bytes=size))

    assert tokens(1024 * TOKEN_BYTES) == 1024
    # Whole steps of 256, as llama.cpp would round up.
    assert tokens(1024 * TOKEN_BYTES - 1) == 768
    assert tokens(100 * TOKEN_BYTES) == 100
    # No more than could ever be used.
    small = EngineSettings(kv_cache_bytes=10**9, sequences_max=2, context_tokens_max=1024)
    assert context_tokens_of(file, small) == 2048
    with pytest.raises(StartError, match=r"engine\.kv_cache_bytes"):
        tokens(TOKEN_BYTES)


def test_busy_is_read_from_its_metrics() -> None:
    idle = "# TYPE x\nllamacpp:requests_processing 0\nllamacpp:requests_deferred 0\n"
    assert not busy(idle)
    assert busy(idle.replace("processing 0", "processing 2"))
    assert busy(idle.replace("deferred 0", "deferred 1"))
    assert not busy("")


def test_a_taken_port_is_told_and_a_free_one_found() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=r"engine\.port"):
            free_port("127.0.0.1", port)
        assert free_port("127.0.0.1", 0) not in {0, port}


def test_an_address_is_whole_or_not_there(tmp_path: Path) -> None:
    announce(None, "http://127.0.0.1:1")
    announce(tmp_path / "a", url_of("::1", 2))
    assert (tmp_path / "a").read_text() == "http://[::1]:2"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
