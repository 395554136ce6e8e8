"""Which model server the settings choose, and whether it can be started here.

Asked before anything is started, so that what is missing is told at once and with its remedy.
"""

from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from tokenyard.engine.catalogue import find_file
from tokenyard.fleet.engines.command import fill_in, program_of
from tokenyard.protocol.models import SamplingDefaults
from tokenyard.runtime.engine_settings import EngineSettings
from tokenyard.vocabulary.errors import StartError
from tokenyard.vocabulary.ids import ModelName

_ANY_PORT = 1


class EngineKind(StrEnum):
    """The values of the setting `engine.kind`."""

    OWN = "own"
    LLAMACPP = "llamacpp"
    VLLM = "vllm"


# What each needs beyond the platform's own packages, and the file that lists it.
_PACKAGES = {
    EngineKind.OWN: ("torch", "engine.txt"),
    EngineKind.LLAMACPP: ("xllamacpp", "llamacpp.txt"),
}


def served_model(settings: EngineSettings, models_folder: Path) -> ModelName:
    """The name under which the chosen server lists its model; raises StartError without a file."""
    if settings.kind == EngineKind.VLLM:
        return ModelName(settings.model)
    return find_file(settings.model, models_folder).name


def drawing_defaults(settings: EngineSettings, models_folder: Path) -> SamplingDefaults | None:
    """How the model draws where a request is silent; None for one that we know nothing of."""
    if settings.kind == EngineKind.VLLM:
        return None
    model = find_file(settings.model, models_folder)
    return SamplingDefaults(temperature=model.temperature, top_p=model.top_p)


def check_startable(settings: EngineSettings, models_folder: Path) -> None:
    """Raise StartError when the model, the package or the program of the command is not here."""
    kind = EngineKind(settings.kind)
    if kind is EngineKind.VLLM:
        program_of(fill_in(settings.command, port=_ANY_PORT, model=settings.model))
        return
    find_file(settings.model, models_folder)
    package, listed = _PACKAGES[kind]
    if find_spec(package) is None:
        raise StartError(
            f"engine.kind = {kind} needs the package {package}. Install it: make up ENGINE={kind}, "
            f"or pip install -r requirements/{listed}."
        )
