"""The settings that a command finds: the file, the environment, its options, a running server's."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenyard.runtime.settings import Settings

_VARIABLES = {
    "engine": "TOKENYARD_ENGINE__KIND",
    "host": "TOKENYARD_GATEWAY__HOST",
    "port": "TOKENYARD_GATEWAY__PORT",
    "replicas": "TOKENYARD_FLEET__GATEWAYS",
    "engines": "TOKENYARD_FLEET__ENGINES",
}


def settings_beside(home: Path, *, beside: bool = True, **options: Any) -> "Settings":
    """The settings, with the options of a command over them.

    beside: whether the command works beside a running server, whose stores it has to find.
    """
    from tokenyard.runtime.settings import load_settings

    told = {_VARIABLES[name]: str(value) for name, value in options.items() if value is not None}
    known = _running_stores(home) if beside else {}
    return load_settings(home, {**known, **os.environ, **told})


def _running_stores(home: Path) -> dict[str, str]:
    """Where `up --replicas` keeps what it keeps, while it runs."""
    import json

    try:
        return dict(json.loads((home / "run" / "stores.json").read_text()))
    except FileNotFoundError:
        return {}
