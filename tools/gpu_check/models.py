"""Models with random weights for checks and measurements, and runners over them."""

import gc
from collections.abc import Sequence
from typing import Any

import torch

from tokenyard.engine.model.checkpoints import DecoderShape
from tokenyard.engine.model.device import AttentionPath, DevicePaths, choose_paths, read_facts
from tokenyard.engine.model.device_decoder import DeviceDecoder
from tokenyard.engine.model.device_operations import bind
from tokenyard.engine.model.device_queue import CudaQueue, DeviceQueue, HostQueue
from tokenyard.engine.model.device_runner import DeviceRunner
from tokenyard.engine.model.device_weights import DeviceLayer, DeviceWeights, draw_weights
from tokenyard.fleet.rules.capacity import ModelShape

BLOCK_TOKENS = 16
GRAPH_SIZES = (1, 2, 4, 8, *range(16, 257, 16))
# In the place of processors of a GPU, where there is none.
PROCESSORS_CPU = 4


class Machine:
    """Where everything runs: the GPU, or the CPU in the dry run.

    asked: a path of attention to be used instead of the one that would be chosen.
    """

    def __init__(self, *, cpu: bool, asked: AttentionPath | None = None) -> None:
        self.facts = read_facts()
        self.paths: DevicePaths = choose_paths(self.facts, asked)
        if cpu:
            self.paths = DevicePaths(
                "cpu", self.paths.chunks, self.paths.decodes, self.paths.reason
            )
        self.device = self.paths.device
        self.processors = self.facts.processors or PROCESSORS_CPU

    @property
    def is_gpu(self) -> bool:
        return self.device == "cuda"

    def queue(self) -> DeviceQueue:
        return CudaQueue() if self.is_gpu else HostQueue(late=True)

    def wait(self) -> None:
        if self.is_gpu:
            torch.cuda.synchronize()

    def free(self) -> None:
        """Give back the memory of runners that are gone; their captured work refers to them."""
        gc.collect()
        if self.is_gpu:
            torch.cuda.empty_cache()


def decoder_shape(shape: ModelShape, context_tokens: int) -> DecoderShape:
    return DecoderShape(
        layers=shape.layers,
        width=shape.hidden,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        head_width=shape.head_dim,
        inner_width=shape.ffn,
        vocabulary=shape.vocabulary,
        context_tokens=context_tokens,
        rope_base=1_000_000.0,
        epsilon=1e-6,
    )


def make_runner(
    machine: Machine,
    shape: DecoderShape,
    weights: DeviceWeights,
    *,
    blocks: int,
    sequences_max: int,
    step_tokens_max: int,
    graph_sizes: Sequence[int] = GRAPH_SIZES,
    processors: int | None = None,
) -> DeviceRunner:
    # Plain attention asks the GPU for values, which no graph can hold.
    capturable = not machine.is_gpu or machine.paths.decodes is not AttentionPath.PLAIN
    decoder = DeviceDecoder(
        shape,
        weights,
        bind(machine.paths, processors or machine.processors),
        block_count=blocks,
        block_tokens=BLOCK_TOKENS,
    )
    return DeviceRunner(
        decoder,
        machine.queue(),
        block_count=blocks,
        step_tokens_max=step_tokens_max,
        sequences_max=sequences_max,
        graph_sizes=[size for size in graph_sizes if capturable and size <= sequences_max],
    )


def draw_model(
    machine: Machine, shape: ModelShape, context_tokens: int, dtype: torch.dtype
) -> tuple[DecoderShape, DeviceWeights]:
    """Random weights with Qwen3's norms where the name says so."""
    sizes = decoder_shape(shape, context_tokens)
    weights = draw_weights(
        sizes,
        machine.device,
        dtype,
        seed=0,
        tied=shape.tied,
        normed=shape.name.startswith("Qwen3"),
    )
    return sizes, weights


def make_transformers(config: Any, dtype: torch.dtype) -> Any:
    """A model of transformers with random weights."""
    import transformers  # noqa: PLC0415

    make: Any = transformers.AutoModelForCausalLM.from_config
    return make(config, dtype=dtype)


def read_transformers(model: Any, device: str) -> tuple[DecoderShape, DeviceWeights]:
    """Shape and weights of a Llama, Qwen2 or Qwen3 model of transformers."""
    config = model.config
    found: dict[str, torch.Tensor] = {
        name: tensor.detach().to(device) for name, tensor in model.state_dict().items()
    }
    head_width = getattr(config, "head_dim", None) or (
        config.hidden_size // config.num_attention_heads
    )
    shape = DecoderShape(
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_width=head_width,
        inner_width=config.intermediate_size,
        vocabulary=config.vocab_size,
        context_tokens=config.max_position_embeddings,
        rope_base=float(config.rope_parameters["rope_theta"]),
        epsilon=config.rms_norm_eps,
    )
    layers = tuple(_read_layer(found, f"model.layers.{n}.") for n in range(shape.layers))
    table = found["model.embed_tokens.weight"]
    head = found.get("lm_head.weight", table)
    weights = DeviceWeights(table, found["model.norm.weight"], head, layers, neighbours=False)
    return shape, weights


def _read_layer(found: dict[str, torch.Tensor], start: str) -> DeviceLayer:
    def join(parts: Sequence[str]) -> torch.Tensor | None:
        names = [start + part for part in parts]
        if names[0] not in found:
            return None
        return torch.cat([found[name] for name in names])

    attention, letters = "self_attn.", "qkv"
    qkv = join([f"{attention}{letter}_proj.weight" for letter in letters])
    gate_up = join(["mlp.gate_proj.weight", "mlp.up_proj.weight"])
    norms = join([f"{attention}q_norm.weight", f"{attention}k_norm.weight"])
    if qkv is None or gate_up is None:
        raise ValueError(f"{start} is not a layer of a decoder that we run")
    return DeviceLayer(
        attention_norm=found[start + "input_layernorm.weight"],
        qkv=qkv,
        qkv_bias=join([f"{attention}{letter}_proj.bias" for letter in letters]),
        query_key_norms=None if norms is None else norms.view(2, -1),
        attention_out=found[start + "self_attn.o_proj.weight"],
        inner_norm=found[start + "post_attention_layernorm.weight"],
        gate_up=gate_up,
        down=found[start + "mlp.down_proj.weight"],
    )
