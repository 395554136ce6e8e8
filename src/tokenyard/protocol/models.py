"""The list of models, after `Model` and `ListModelsResponse` of the OpenAI API reference."""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType


class Model(msgspec.Struct, kw_only=True):
    """One model that can be asked; the last fields are ours and absent where unknown."""

    id: str
    created: int
    owned_by: str
    object: Literal["model"] = "model"
    # The most tokens, prompt and answer together, that one sequence may hold.
    context_window: int | UnsetType = UNSET


class ModelList(msgspec.Struct, kw_only=True):
    """All models that this caller may ask."""

    data: list[Model]
    object: Literal["list"] = "list"
