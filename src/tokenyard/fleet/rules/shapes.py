"""The shapes of decoders: some by name, any by its numbers, and what a GGUF header tells.

Source of the table: the `config.json` of each model's publisher.
"""

from collections.abc import Collection, Mapping
from dataclasses import fields

from tokenyard.fleet.rules.capacity import ModelShape
from tokenyard.vocabulary.errors import NotFound, StartError
from tokenyard.vocabulary.reasons import Reason

KNOWN_SHAPES = (
    ModelShape("SmolLM2-135M", 30, 576, 9, 3, 64, 1536, 49_152, tied=True),
    ModelShape("SmolLM2-360M", 32, 960, 15, 5, 64, 2560, 49_152, tied=True),
    ModelShape("Llama-3.2-1B", 16, 2048, 32, 8, 64, 8192, 128_256, tied=True),
    ModelShape("Llama-3.1-8B", 32, 4096, 32, 8, 128, 14_336, 128_256, tied=False),
    ModelShape("Qwen3-0.6B", 28, 1024, 16, 8, 128, 3072, 151_936, tied=True),
    ModelShape("Qwen3-8B", 36, 4096, 32, 8, 128, 12_288, 151_936, tied=False),
    ModelShape("Qwen3-14B", 40, 5120, 40, 8, 128, 17_408, 151_936, tied=False),
)
# In the order in which they are asked for; `head_dim` and `tied` may be left out.
_NUMBERS = ("layers", "hidden", "heads", "kv_heads", "head_dim", "ffn", "vocabulary")
SHAPE_FORM = (
    "layers=36,hidden=4096,heads=32,kv_heads=8,head_dim=128,ffn=12288,vocabulary=151936,tied=no"
)
_TIED = {"yes": True, "no": False}
_NUMBER_MAX = 10**9
# The list in a GGUF header whose length is the size of the vocabulary.
VOCABULARY_KEY = "tokenizer.ggml.tokens"


def find_shape(name: str) -> ModelShape:
    """The shape of that name, in any case of letters; raises NotFound listing the names."""
    for shape in KNOWN_SHAPES:
        if shape.name.lower() == name.lower():
            return shape
    names = ", ".join(shape.name for shape in KNOWN_SHAPES)
    raise NotFound(
        f"No shape is called {name!r}. Known: {names}; or a .gguf file, or --shape {SHAPE_FORM}",
        reason=Reason.MODEL_NOT_FOUND,
        param="model",
    )


def parse_shape(text: str) -> ModelShape:
    """A shape from `key=number,…`; raises StartError naming the key that is wrong or missing."""
    told: dict[str, str] = {}
    for part in text.split(","):
        key, _, value = part.strip().partition("=")
        if key not in {field.name for field in fields(ModelShape)} - {"name"} or key in told:
            raise StartError(f"--shape: {key!r} is not known or twice there. Form: {SHAPE_FORM}")
        told[key] = value
    tied = _TIED.get(told.get("tied", "no"))
    if tied is None:
        raise StartError("--shape: tied is yes or no.")
    numbers = {key: _number(key, told[key]) for key in _NUMBERS if key in told}
    if "head_dim" not in numbers and {"hidden", "heads"} <= numbers.keys():
        numbers["head_dim"] = numbers["hidden"] // numbers["heads"]
    missing = [key for key in _NUMBERS if not numbers.get(key)]
    if missing:
        raise StartError(f"--shape: {missing[0]} is missing. Form: {SHAPE_FORM}")
    return ModelShape("the given shape", tied=tied, **numbers)


def shape_of_header(
    name: str, metadata: Mapping[str, object], tensors: Collection[str], vocabulary: int
) -> ModelShape:
    """The shape that a GGUF header tells; raises StartError naming the key that is missing.

    tensors: their names, which tell whether there is an output layer of its own.
    """
    family = metadata.get("general.architecture")

    def number(key: str, default: int | None = None) -> int:
        value = metadata.get(f"{family}.{key}", default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _NUMBER_MAX:
            raise StartError(f"{name}: the header has no usable {family}.{key}.")
        return value

    hidden, heads = number("embedding_length"), number("attention.head_count")
    return ModelShape(
        name=name,
        layers=number("block_count"),
        hidden=hidden,
        heads=heads,
        kv_heads=number("attention.head_count_kv", heads),
        head_dim=number("attention.key_length", hidden // heads),
        ffn=number("feed_forward_length"),
        vocabulary=vocabulary,
        tied="output.weight" not in tensors,
    )


def _number(key: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= _NUMBER_MAX):
        raise StartError(f"--shape: {key} is a whole number above 0, not {text!r}.")
    return int(text)
