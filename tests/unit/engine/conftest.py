"""The tiny model for all tests of the engine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import tiny_model as tiny
from support.engine_server import open_served
from tokenyard.engine.tokenizer import Tokenizer


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


@pytest.fixture
def serve(tokenizer: Tokenizer, metadata: dict[str, Any]) -> Callable[..., Any]:
    """Opens the routes over a scripted model."""
    template = metadata["tokenizer.chat_template"]
    return lambda *text, **how: open_served(tokenizer, *text, **{"template": template, **how})
