"""A checkpoint on a GPU, ready to run: which paths, how much memory for the cache, which graphs.

Decides how the GPU's memory is shared out. Does not know requests.
"""

import torch

from tokenyard.engine.model.checkpoints import Checkpoint, DecoderShape, read_shape
from tokenyard.engine.model.device import AttentionPath, DeviceFacts, choose_paths, read_facts
from tokenyard.engine.model.device_decoder import DeviceDecoder
from tokenyard.engine.model.device_operations import bind
from tokenyard.engine.model.device_queue import CudaQueue
from tokenyard.engine.model.device_runner import DeviceRunner
from tokenyard.engine.model.device_weights import read_weights
from tokenyard.vocabulary.errors import StartError

# bf16: 8 bits of exponent, as models are trained.
DTYPE = torch.bfloat16
GRAPH_SIZES = (1, 2, 4, *range(8, 257, 8), *range(272, 513, 16))
# Kernels' own memory, libraries and graphs, as a rough bound.
RESERVE_BYTES = 2 << 30
# Activations that are alive at once, in rows of a layer's widest product.
ROWS_ALIVE = 4


def load_on_gpu(
    file: Checkpoint,
    *,
    memory_share: float,
    block_tokens: int,
    step_tokens_max: int,
    sequences_max: int,
) -> DeviceRunner:
    """Load the weights, take the memory and capture the graphs; takes seconds to a minute.

    memory_share: part of the GPU's memory that may be used in all. Raises StartError when there is
    no GPU with Triton, or too little memory.
    """
    facts = read_facts()
    _check_usable(facts)
    paths = choose_paths(facts)
    shape = read_shape(file)
    with torch.inference_mode():
        weights = read_weights(file, shape, paths.device, DTYPE)
        free, total = torch.cuda.mem_get_info()
        free -= int(total * (1.0 - memory_share))
        blocks = count_blocks(shape, free, block_tokens, step_tokens_max, sequences_max)
        decoder = DeviceDecoder(
            shape,
            weights,
            bind(paths, facts.processors),
            block_count=blocks,
            block_tokens=block_tokens,
        )
        return DeviceRunner(
            decoder,
            CudaQueue(),
            block_count=blocks,
            step_tokens_max=step_tokens_max,
            sequences_max=sequences_max,
            graph_sizes=choose_graph_sizes(sequences_max),
        )


def choose_graph_sizes(sequences_max: int) -> tuple[int, ...]:
    """Padded sizes of decode steps, such that `sequences_max` fits if any graph is that large."""
    sizes = [size for size in GRAPH_SIZES if size < sequences_max]
    return (*sizes, sequences_max) if sequences_max <= GRAPH_SIZES[-1] else tuple(sizes)


def count_blocks(
    shape: DecoderShape, free_bytes: int, block_tokens: int, step_tokens_max: int, rows_max: int
) -> int:
    """Blocks for keys and values in what is left after weights; raises StartError below one."""
    widest = max(2 * shape.inner_width, (shape.heads + 2 * shape.kv_heads) * shape.head_width)
    activations = ROWS_ALIVE * step_tokens_max * widest * DTYPE.itemsize
    # Logits as captured, and twice as float64 while a token is drawn from them.
    logits = rows_max * shape.vocabulary * (DTYPE.itemsize + 16)
    token_bytes = 2 * shape.layers * shape.kv_heads * shape.head_width * DTYPE.itemsize
    left = free_bytes - activations - logits - RESERVE_BYTES
    # The null block is one more.
    blocks = left // (token_bytes * block_tokens) - 1
    if blocks < 1:
        raise StartError(
            f"The GPU has {free_bytes >> 20} MiB left beside the weights, of which the cache would "
            f"get {left >> 20} MiB: less than a block. Raise engine.gpu_memory_share, or lower "
            "engine.step_tokens_max and engine.sequences_max."
        )
    return int(blocks)


def _check_usable(facts: DeviceFacts) -> None:
    if facts.capability is None:
        raise StartError("engine.device = cuda, but torch finds no GPU here. Use cpu.")
    if choose_paths(facts).decodes is not AttentionPath.TRITON:
        raise StartError("engine.device = cuda needs Triton, which a CUDA build of torch brings.")
