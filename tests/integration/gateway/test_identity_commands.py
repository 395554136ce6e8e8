"""`tokenyard keys`, `people`, `projects` and `audit` on a real data folder."""

import json
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tokenyard.cli import main


class Terminal:
    """Commands on one data folder."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._environment = {"TOKENYARD_HOME": str(home)}

    def type(self, *words: str) -> Result:
        return CliRunner().invoke(main, words, env=self._environment)

    def read(self, *words: str) -> str:
        result = self.type(*words)
        assert result.exit_code == 0, result.output
        return result.stdout.strip()


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path / "home")


def test_keys_come_change_and_go(terminal: Terminal) -> None:
    secret = terminal.read("keys", "create", "--name", "ci", "--scope", "inference", "--days", "9")
    (key,) = json.loads(terminal.read("keys", "list", "--json"))
    assert (key["name"], key["scopes"]) == ("ci", ["inference"])
    assert 8 < (key["expires_at"] - key["created_at"]) / 86_400 < 10
    rotated = terminal.read("keys", "rotate", key["id"], "--overlap", "5")
    assert rotated.startswith("ty-")
    assert rotated != secret
    assert terminal.read("keys", "revoke", key["id"]) == f"revoked {key['id']}"
    assert terminal.type("keys", "rotate", key["id"]).exit_code == 1
    assert "revoked" in terminal.read("keys", "list")
    wrong = terminal.type("keys", "create", "--name", "x", "--scope", "nonsense")
    assert (wrong.exit_code, wrong.stdout) == (1, "")
    assert "There is no scope 'nonsense'" in wrong.stderr
    assert terminal.type("keys", "create", "--name", "x", "--project", "proj_no").exit_code == 1


def test_people_and_projects(terminal: Terminal) -> None:
    project = terminal.read("projects", "create", "Second")
    assert terminal.read("keys", "create", "--name", "k", "--project", project).startswith("ty-")
    link = terminal.read("people", "invite", "ann@example.com", "--project", project)
    assert "/#invitation=" in link
    assert terminal.read("projects", "archive", project) == f"archived {project}"
    assert terminal.type("projects", "archive", project).exit_code == 1
    (owner,) = json.loads(terminal.read("people", "list", "--json"))
    assert owner["operator"]
    refused = terminal.type("people", "remove", owner["id"])
    assert (refused.exit_code, "last owner" in refused.stderr) == (1, True)
    assert terminal.type("sign-in-link", "--email", "nobody@example.com").exit_code == 1
    assert "/sign-in?token=" in terminal.read("sign-in-link")


def test_a_changed_audit_log_is_noticed(terminal: Terminal) -> None:
    for name in "abc":
        terminal.read("keys", "create", "--name", name)
    assert terminal.read("audit", "check").startswith("3 entries")
    connection = sqlite3.connect(terminal.home / "tokenyard.sqlite3")
    with connection:
        connection.execute("UPDATE audit_log SET object_id = 'key_other' WHERE number = 2")
    connection.close()
    broken = terminal.type("audit", "check")
    assert (broken.exit_code, "entry 2" in broken.stderr) == (1, True)
