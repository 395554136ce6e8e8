"""Settings come from the file and the environment, and a mistake is told by its key."""

from pathlib import Path

import pytest

from tokenyard.runtime.settings import Settings, home_folder, load_settings
from tokenyard.vocabulary.errors import StartError


def test_environment_wins_over_file_wins_over_default(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("[gateway]\nport = 9000\nhost = '0.0.0.0'\n")
    settings = load_settings(tmp_path, {"TOKENYARD_GATEWAY__PORT": "9001", "PATH": "/bin"})
    assert (settings.gateway.port, settings.gateway.host) == (9001, "0.0.0.0")
    assert settings.engine == Settings().engine


def test_price_book_can_be_set(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(
        "[[ledger.prices]]\nmodel='m'\ninput='0.15'\ncached_input='0.075'\noutput='0.6'\n"
    )
    (price,) = load_settings(tmp_path, {}).ledger.prices
    assert (price.model, price.input) == ("m", "0.15")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("TOKENYARD_GATEWAY__PORT", "http", "gateway.port"),
        ("TOKENYARD_GATEWAY__PORT", "65536", "gateway.port"),
        ("TOKENYARD_GATEWAY__PROT", "1", "prot"),
        ("TOKENYARD_GATEWY__PORT", "1", "gatewy"),
        ("TOKENYARD_LIMITS__REQUESTS_BURST", "0", "limits.requests_burst"),
        ("TOKENYARD_LOGS__LEVEL", "loud", "logs.level"),
        ("TOKENYARD_GATEWAY", "8400", "gateway"),
    ],
)
def test_wrong_value_stops_the_start_with_its_key(
    tmp_path: Path, name: str, value: str, told: str
) -> None:
    with pytest.raises(StartError, match=told):
        load_settings(tmp_path, {name: value})


def test_variable_below_a_plain_value_is_told(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("gateway = 3\n")
    with pytest.raises(StartError, match="TOKENYARD_GATEWAY__PORT"):
        load_settings(tmp_path, {"TOKENYARD_GATEWAY__PORT": "1"})


@pytest.mark.parametrize("text", ["[gateway", "\xff\xfe"])
def test_unreadable_file_is_told_with_its_path(tmp_path: Path, text: str) -> None:
    (tmp_path / "settings.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(StartError, match=r"settings\.toml"):
        load_settings(tmp_path, {})


def test_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home_folder({}) == tmp_path / ".tokenyard"
    assert home_folder({"TOKENYARD_HOME": "/data/yard"}) == Path("/data/yard")
    assert home_folder({"TOKENYARD_HOME": "~/yard"}) == tmp_path / "yard"


def test_what_the_commands_of_a_client_read_is_no_setting(tmp_path: Path) -> None:
    environment = {"TOKENYARD_URL": "http://x", "TOKENYARD_API_KEY": "ty-x"}
    assert load_settings(tmp_path, environment) == Settings()
