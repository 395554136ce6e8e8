"""The real model, as `tokenyard models pull` has installed it, and a tiny random one."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import tiny_model as tiny
from tokenyard.engine.catalogue import find_file, find_known
from tokenyard.engine.tokenizer import Tokenizer
from tokenyard.runtime.settings import home_folder
from tokenyard.vocabulary.errors import StartError


@pytest.fixture(scope="session")
def model_path() -> Path:
    models = home_folder(os.environ) / "models"
    try:
        return find_file(find_known("smollm2-135m-instruct").name, models).path
    except StartError as error:
        pytest.fail(error.message, pytrace=False)


@pytest.fixture(scope="session")
def metadata() -> dict[str, Any]:
    return tiny.make_metadata()


@pytest.fixture(scope="session")
def tokenizer(metadata: dict[str, Any]) -> Tokenizer:
    return Tokenizer(metadata)


@pytest.fixture(scope="session")
def write_model() -> Callable[..., Path]:
    """Writes a random llama checkpoint in float32."""
    return tiny.write_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("model") / "tiny.gguf")
