"""The real model, as `make test` or `tokenyard models pull` has installed it."""

import os
from pathlib import Path

import pytest

from tokenyard.engine.catalogue import find_file, find_known
from tokenyard.runtime.settings import home_folder
from tokenyard.vocabulary.errors import StartError


@pytest.fixture(scope="session")
def model_path() -> Path:
    models = home_folder(os.environ) / "models"
    try:
        return find_file(find_known("smollm2-135m-instruct").name, models).path
    except StartError as error:
        pytest.fail(error.message, pytrace=False)
