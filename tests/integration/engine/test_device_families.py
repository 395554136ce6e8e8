"""The device's decoder runs each family from a Hugging Face folder, as transformers does."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from support import tiny_model
from support.device_yard import generate, make_device

SIZES: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "vocab_size": 269,
    "eos_token_id": None,
    "pad_token_id": 0,
}
LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
GEMMA = {
    "head_dim": 16,
    "query_pre_attn_scalar": 12,
    "sliding_window": 7,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "rope_parameters": {
        "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1_000_000.0},
    },
}
PROMPTS = [[7], list(range(30, 47)), [9, 40, 41, 42, 43]]


def write_tokenizer(folder: Path) -> None:
    """A folder without one is no model; here nobody reads texts."""
    tokens = tiny_model.make_metadata()["tokenizer.ggml.tokens"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    assert len(vocabulary) == SIZES["vocab_size"]
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.save(str(folder / "tokenizer.json"))


@pytest.mark.parametrize(
    ("family", "extra"),
    [
        ("Llama", {}),
        ("Llama", {"rope_parameters": LLAMA_3, "tie_word_embeddings": True}),
        ("Qwen2", {}),
        ("Qwen3", {"head_dim": 16, "tie_word_embeddings": True}),
        ("Gemma3", GEMMA),
    ],
    ids=["llama", "llama 3", "qwen2", "qwen3", "gemma3"],
)
def test_families(tmp_path: Path, family: str, extra: dict[str, Any]) -> None:
    torch.manual_seed(3)
    library: Any = transformers
    named = "Gemma3TextConfig" if family == "Gemma3" else f"{family}Config"
    config = getattr(library, named)(**{**SIZES, **extra})
    model = getattr(library, f"{family}ForCausalLM")(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            # Norms and biases are trivial as initialised; here they have to matter.
            weight.add_(torch.randn_like(weight) * 0.2)
    model.save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    found, _ = generate(make_device(tmp_path), PROMPTS, count=8)
    for prompt, text in zip(PROMPTS, found, strict=True):
        asked = torch.tensor([prompt])
        made = model.generate(
            asked, attention_mask=torch.ones_like(asked), max_new_tokens=8, do_sample=False
        )
        assert text == made[0].tolist()
