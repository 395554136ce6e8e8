"""The list of models, after `Model` and `ListModelsResponse` of the OpenAI API reference."""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

WINDOW_UNKNOWN = 131_072


class SamplingDefaults(msgspec.Struct, frozen=True, kw_only=True):
    """How a model draws when a request does not say; OpenAI's values unless its makers differ."""

    temperature: float = 1.0
    top_p: float = 1.0


class Model(msgspec.Struct, kw_only=True):
    """One model that can be asked; the last fields are ours and absent where unknown."""

    id: str
    created: int
    owned_by: str
    object: Literal["model"] = "model"
    # The most tokens, prompt and answer together, that one sequence may hold.
    context_window: int | UnsetType = UNSET
    sampling_defaults: SamplingDefaults | UnsetType = UNSET
    # Of an adapter: the model that it changes.
    parent: str | UnsetType = UNSET

    def window(self) -> int:
        """The context window, or a bound for servers that do not tell theirs."""
        return WINDOW_UNKNOWN if self.context_window is UNSET else self.context_window

    def defaults(self) -> SamplingDefaults:
        """How it draws by itself."""
        return SamplingDefaults() if self.sampling_defaults is UNSET else self.sampling_defaults


class ModelList(msgspec.Struct, kw_only=True):
    """All models that this caller may ask."""

    data: list[Model]
    object: Literal["list"] = "list"
