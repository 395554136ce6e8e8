"""Each family's logits equal those of transformers, on small random checkpoints written here."""

import copy
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as HuggingFaceTokenizer
from tokenizers import decoders, models, pre_tokenizers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from support import tiny_model
from support.kernels import COMPILED, NEEDS_KERNELS
from tokenyard.engine.catalogue import find_file
from tokenyard.engine.model.adapters import read_adapter
from tokenyard.engine.model.checkpoints import open_checkpoint, read_shape
from tokenyard.engine.model.runner import TorchRunner
from tokenyard.engine.rules.batching import Chunk, Sequence
from tokenyard.engine.server.process import load_model
from tokenyard.engine.tokenizer import Tokenizer
from tokenyard.runtime.engine_settings import EngineSettings
from tokenyard.vocabulary.errors import StartError

SIZES: dict[str, Any] = {
    "hidden_size": 96,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-6,
    "rope_theta": 50_000.0,
    "attn_implementation": "eager",
}
# Config class, model class, and what is special; untyped, as the library's own hints differ.
FAMILIES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "llama": (LlamaConfig, LlamaForCausalLM, {}),
    "llama tied": (LlamaConfig, LlamaForCausalLM, {"tie_word_embeddings": True}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 16, "tie_word_embeddings": True}),
    "gemma3": (
        Gemma3TextConfig,
        Gemma3ForCausalLM,
        {
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "num_hidden_layers": 7,
            "sliding_window": 9,
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
                "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 50_000.0},
            },
        },
    ),
}
KERNELS = ["torch", COMPILED]
GEMMA_NAMES = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def make_model(config: Any, kind: Any, extra: dict[str, Any]) -> Any:
    vocabulary = len(tiny_model.make_metadata()["tokenizer.ggml.tokens"])
    torch.manual_seed(7)
    model = kind(config(**{**SIZES, **extra}, vocab_size=vocabulary)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # Norms and biases are trivial as initialised; here they have to matter.
            weight.add_(torch.randn_like(weight) * (0.2 if weight.dim() > 1 else 0.3))
            assert torch.isfinite(weight).all(), name
    return model


def gguf_name(name: str, architecture: str) -> str:
    whole = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in whole:
        return whole[name]
    _, _, layer, rest = name.split(".", 3)
    stem, ending = rest.rsplit(".", 1)
    names = LAYER_NAMES | (GEMMA_NAMES if architecture == "gemma3" else {})
    return f"blk.{layer}.{names[stem]}.{ending}"


def write(model: Any, architecture: str, path: Path, *, quantised: bool = False) -> None:
    config, metadata = model.config, tiny_model.make_metadata()
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_rope_freq_base(50_000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if getattr(config, "head_dim", None):
        writer.add_key_length(config.head_dim)
    if architecture == "gemma3":
        writer.add_sliding_window(config.sliding_window)
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(4.0)
    writer.add_token_list(metadata["tokenizer.ggml.tokens"])
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = weight.detach().numpy()
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        part = name.split(".")[-2]
        if architecture == "llama" and part in heads:
            # GGUF's order of rotated pairs: neighbours.
            halves = values.reshape(heads[part], 2, -1, values.shape[1])
            values = halves.swapaxes(1, 2).reshape(values.shape)
        if architecture == "gemma3" and name.endswith("norm.weight"):
            # GGUF has the whole weight; Hugging Face how far it is from 1.
            values = values + 1
        kind = gguf.GGMLQuantizationType.Q8_0
        if quantised and values.ndim == 2:
            packed = gguf.quants.quantize(np.ascontiguousarray(values), kind)
            writer.add_tensor(gguf_name(name, architecture), packed, raw_dtype=kind)
        else:
            writer.add_tensor(gguf_name(name, architecture), np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def open_runner(path: Path, weights: str, kernels: str, *, threads: int = 1) -> TorchRunner:
    with open_checkpoint(path) as file:
        return TorchRunner(
            file,
            weights=weights,
            threads=threads,
            kv_cache_bytes=4 * 2**20,
            block_tokens=16,
            kernels=kernels,
        )


def check_logits(model: Any, path: Path, kernels: str) -> None:
    """A prompt in two chunks and then token by token, at every place that draws."""
    tokens = torch.randint(3, 250, (40,), generator=torch.Generator().manual_seed(3)).tolist()
    with torch.no_grad():
        expected = model(torch.tensor([tokens])).logits[0]
    runner = open_runner(path, "fp32", kernels)
    text = Sequence(0, tokens, blocks=[3, 1, 2])
    for start, count in ((0, 17), (17, 15), *((place, 1) for place in range(32, 40))):
        logits = runner._compute([Chunk(text, start, count, draws=True)]).logits
        place = start + count - 1
        scale = expected[place].abs().max().item()
        assert torch.allclose(logits[0], expected[place], atol=2e-5 * scale, rtol=1e-4), place


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_from_gguf_are_equal(family: str, kernels: str, tmp_path: Path) -> None:
    model = make_model(*FAMILIES[family])
    path = tmp_path / "model.gguf"
    write(model, family.split(maxsplit=1)[0], path)
    check_logits(model, path, kernels)


@NEEDS_KERNELS
@pytest.mark.parametrize("family", FAMILIES)
def test_layers_at_once_equal_layers_one_by_one_to_the_bit(family: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write(make_model(*FAMILIES[family]), family.split(maxsplit=1)[0], path, quantised=True)
    text = Sequence(0, list(range(20, 60)), blocks=[3, 1, 2])
    found = []
    for at_once in (True, False):
        runner = open_runner(path, "quantised", "compiled", threads=2)
        operations = runner._begin.__self__  # type: ignore[attr-defined]
        assert operations.layers is not None
        if not at_once:
            operations.layers = None
        for start, count in ((0, 33), (33, 6), (39, 1)):
            step = runner._compute([Chunk(text, start, count, draws=True)])
            found.append(step.logits)
    for once, one_by_one in zip(found[:3], found[3:], strict=True):
        assert torch.equal(once, one_by_one)


LLAMA_3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 50_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


# Only in a folder: GGUF takes it for Llama and leaves the window out.
FOLDERS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    **FAMILIES,
    "mistral": (MistralConfig, MistralForCausalLM, {"sliding_window": 9}),
    "llama scaled": (LlamaConfig, LlamaForCausalLM, {"rope_parameters": LLAMA_3_ROPE}),
    "llama sharded": (LlamaConfig, LlamaForCausalLM, {}),
}


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("family", FOLDERS)
def test_logits_from_a_folder_are_equal(family: str, kernels: str, tmp_path: Path) -> None:
    model = make_model(*FOLDERS[family])
    shard = "40KB" if family == "llama sharded" else "5GB"
    model.save_pretrained(tmp_path, max_shard_size=shard)
    assert (tmp_path / "model.safetensors.index.json").exists() == (family == "llama sharded")
    write_tokenizer(tmp_path)
    check_logits(model, tmp_path, kernels)


def write_tokenizer(folder: Path) -> HuggingFaceTokenizer:
    """The tiny vocabulary as Hugging Face keeps one."""
    metadata = tiny_model.make_metadata()
    texts = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    vocabulary = {text: number for number, text in enumerate(texts)}
    made = HuggingFaceTokenizer(models.BPE(vocab=vocabulary, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(texts[:3])
    made.add_tokens(["<think>"])
    made.save(str(folder / "tokenizer.json"))
    settings = {
        "bos_token": "<|im_start|>",
        "eos_token": {"content": "<|im_end|>"},
        "chat_template": metadata["tokenizer.chat_template"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 7]}))
    return made


def test_a_folder_has_its_tokenizer_and_its_template(tmp_path: Path) -> None:
    make_model(*FAMILIES["llama"]).save_pretrained(tmp_path)
    reference = write_tokenizer(tmp_path)
    with open_checkpoint(tmp_path) as folder:
        tokenizer = Tokenizer(folder.metadata)
    for text in ("hello world", "", " x\n", "é😀 12", "a<|im_end|>b", "<think>hello"):
        assert tokenizer.encode(text, specials=True) == reference.encode(text).ids, text
    assert tokenizer.encode("a<|im_end|>", specials=False)[-1] != 2
    assert tokenizer.end_ids == {0, 2, 7}
    assert (tokenizer.bos_id, tokenizer.eos_id) == (1, 2)
    assert folder.metadata["tokenizer.chat_template"] == tiny_model.CHATML


def test_a_folder_is_served_like_a_file(tmp_path: Path) -> None:
    make_model(*FAMILIES["qwen3"]).save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    model = find_file(str(tmp_path), tmp_path)
    runner, tokenizer, template = load_model(
        model, EngineSettings(kv_cache_bytes=4_000_000, weights="fp32")
    )
    assert template is not None
    assert runner.context_tokens == 128
    assert tokenizer.decode(tokenizer.encode("hello", specials=False)) == "hello"


TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def write_adapter(
    model: Any, folder: Path, *, rank: int, seed: int, targets: Any, **more: Any
) -> None:
    """A random adapter as PEFT writes it."""
    chance = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, weight in model.named_parameters():
        part = name.split(".")[-2]
        if part in targets and weight.dim() == 2:
            stem = f"base_model.model.{name.removesuffix('.weight')}"
            rows, columns = weight.shape
            for side, shape in (("A", (rank, columns)), ("B", (rows, rank))):
                tensors[f"{stem}.lora_{side}.weight"] = torch.randn(shape, generator=chance) * 0.2
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "bias": "none", **more}
    (folder / "adapter_config.json").write_text(json.dumps(config))


def merged_logits(model: Any, folder: Path | None, scale: float, tokens: list[int]) -> torch.Tensor:
    """With the adapter added to the weights."""
    changed = copy.deepcopy(model)
    if folder is not None:
        tensors = load_file(folder / "adapter_model.safetensors")
        with torch.no_grad():
            for name, weight in changed.named_parameters():
                stem = f"base_model.model.{name.removesuffix('.weight')}"
                if f"{stem}.lora_A.weight" in tensors:
                    up, down = (tensors[f"{stem}.lora_{side}.weight"] for side in "BA")
                    weight.add_(scale * up @ down)
    with torch.no_grad():
        logits: torch.Tensor = changed(torch.tensor([tokens])).logits[0]
    return logits


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma3"])
@pytest.mark.parametrize(
    ("from_gguf", "kernels"),
    [(True, "torch"), pytest.param(False, "compiled", marks=NEEDS_KERNELS)],
)
def test_adapters_equal_merged_weights_in_one_batch(
    family: str, from_gguf: bool, kernels: str, tmp_path: Path
) -> None:
    model = make_model(*FAMILIES[family])
    path = tmp_path / "model.gguf" if from_gguf else tmp_path
    if from_gguf:
        write(model, family, path)
    else:
        model.save_pretrained(path)
        write_tokenizer(path)
    one, two = tmp_path / "one", tmp_path / "two"
    write_adapter(model, one, rank=4, seed=1, targets=TARGETS)
    write_adapter(model, two, rank=2, seed=2, targets=("q_proj", "down_proj"), use_rslora=True)
    runner = open_runner(path, "fp32", kernels)
    runner.load_adapter(1, one, rank_max=8)
    runner.load_adapter(5, two, rank_max=8)
    tokens = list(range(10, 26))
    wanted = {
        0: merged_logits(model, None, 0.0, tokens),
        1: merged_logits(model, one, 2.0, tokens),
        5: merged_logits(model, two, 4 / 2**0.5, tokens),
    }
    assert (wanted[1] - wanted[0]).abs().max() > 0.1 < (wanted[5] - wanted[0]).abs().max()
    texts = [
        Sequence(number, list(tokens), blocks=[1 + number], adapter=number) for number in wanted
    ]
    for start, count in ((0, 9), (9, 6), (15, 1)):
        step = runner._compute([Chunk(text, start, count, draws=True) for text in texts])
        for text, row in zip(step.drawing, step.logits, strict=True):
            expected = wanted[text.id][start + count - 1]
            assert torch.allclose(row, expected, atol=1e-4 * expected.abs().max().item()), text.id
    runner.drop_adapter(1)
    left = runner._compute([Chunk(texts[2], 15, 1, draws=True)]).logits[0]
    assert torch.allclose(left, wanted[5][15], atol=1e-4 * wanted[5].abs().max().item())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"r": 9}, "at most 8"),
        ({"lora_alpha": "x"}, "lora_alpha"),
        ({"use_dora": True}, "use_dora"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"r": 3}, "shape"),
    ],
)
def test_an_adapter_that_does_not_fit_is_named(
    change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    model = make_model(*FAMILIES["llama"])
    write(model, "llama", tmp_path / "model.gguf")
    write_adapter(model, tmp_path / "one", rank=4, seed=1, targets=TARGETS, **change)
    with open_checkpoint(tmp_path / "model.gguf") as file:
        shape = read_shape(file)
    with pytest.raises(StartError, match=says):
        read_adapter(tmp_path / "one", shape, rank_max=8)
    weights = tmp_path / "one" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    with pytest.raises(StartError):
        read_adapter(tmp_path / "one", shape, rank_max=8)
    with pytest.raises(StartError, match="adapter_config"):
        read_adapter(tmp_path / "nowhere", shape, rank_max=8)
