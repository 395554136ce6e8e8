"""OpenVINO GenAI or transformers' continuous batching, asked over a pipe with token ids.

A line {"prompts": [[...]], "tokens": N} on standard input is answered by {"wall": seconds,
"arrivals": [[seconds, ...], ...]}: when each token of each prompt came. OpenVINO runs in an
environment of its own, so only what is for transformers imports anything of ours.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Prompts = list[list[int]]
Run = Callable[[Prompts, int], tuple[float, list[list[float]]]]
SEQUENCES_MAX = 64
STEP_TOKENS_MAX = 512
CACHE_GB = 1
ANSWER_SECONDS_MAX = 900.0
LAYER_PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OTHER_PARTS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def open_openvino(model: Path) -> Run:
    """Its continuous batching, reading the GGUF file itself; greedy."""
    import numpy as np  # noqa: PLC0415
    import openvino  # type: ignore[import-not-found]  # noqa: PLC0415
    import openvino_genai as genai  # type: ignore[import-not-found]  # noqa: PLC0415

    limits = genai.SchedulerConfig()
    limits.cache_size = CACHE_GB
    limits.max_num_batched_tokens = STEP_TOKENS_MAX
    limits.max_num_seqs = SEQUENCES_MAX
    limits.enable_prefix_caching = False
    pipeline = genai.ContinuousBatchingPipeline(str(model), limits, "CPU", {})
    numbers = iter(range(1 << 30))

    def run(prompts: Prompts, count: int) -> tuple[float, list[list[float]]]:
        how = genai.GenerationConfig()
        how.max_new_tokens, how.ignore_eos, how.do_sample = count, True, False
        began = time.perf_counter()
        handles = [
            pipeline.add_request(
                next(numbers), openvino.Tensor(np.array([prompt], dtype=np.int64)), how
            )
            for prompt in prompts
        ]
        arrivals: list[list[float]] = [[] for _ in prompts]
        while pipeline.has_non_finished_requests():
            pipeline.step()
            at = time.perf_counter() - began
            for handle, times in zip(handles, arrivals, strict=True):
                while handle.can_read():
                    times += [at for one in handle.read().values() for _ in one.generated_ids]
        return time.perf_counter() - began, arrivals

    return run


def open_transformers(model: Path) -> Run:
    """The loop behind `generate_batch`, with its streaming; float32, greedy."""
    import transformers  # noqa: PLC0415

    network = _build_llama(model).eval()
    make: Any = transformers.GenerationConfig

    def run(prompts: Prompts, count: int) -> tuple[float, list[list[float]]]:
        how = make(max_new_tokens=count, do_sample=False, eos_token_id=-1, pad_token_id=0)
        sizes: Any = transformers.ContinuousBatchingConfig
        manager = network.init_continuous_batching(
            generation_config=how,
            continuous_batching_config=sizes(num_blocks=128, max_batch_tokens=STEP_TOKENS_MAX),
        )
        arrivals: dict[str, list[float]] = {}
        began = time.perf_counter()
        manager.start()
        try:
            names = [
                manager.add_request(prompt, max_new_tokens=count, streaming=True, eos_token_id=-1)
                for prompt in prompts
            ]
            arrivals = {name: [] for name in names}
            while any(len(times) < count for times in arrivals.values()):
                news = manager.get_result(timeout=1.0)
                at = time.perf_counter() - began
                if news is not None:
                    if news.error:
                        raise SystemExit(news.error)
                    times = arrivals[news.request_id]
                    times += [at] * (len(news.generated_tokens) - len(times))
                elif at > ANSWER_SECONDS_MAX or not manager.is_running():
                    raise SystemExit("transformers ended or gave nothing")
        finally:
            manager.stop(block=True)
        return at, list(arrivals.values())

    return run


def _build_llama(model: Path) -> Any:
    """The file's model in transformers' class; its own way into GGUF needs one package more."""
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    from tokenyard.engine.model.checkpoints import read_shape  # noqa: PLC0415
    from tokenyard.engine.model.gguf import GgufFile  # noqa: PLC0415

    with GgufFile(model) as file:
        shape = read_shape(file)
        weights = {name: torch.from_numpy(file.dequantised(name)) for name in file.tensors}
    config = transformers.LlamaConfig(
        hidden_size=shape.width,
        intermediate_size=shape.inner_width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        vocab_size=shape.vocabulary,
        max_position_embeddings=shape.context_tokens,
        rms_norm_eps=shape.epsilon,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_base},
        tie_word_embeddings="output.weight" not in weights,
    )
    network: Any = transformers.LlamaForCausalLM(config)
    state = {}
    turned = {"attn_q": shape.heads, "attn_k": shape.kv_heads}
    for name, weight in weights.items():
        if not name.startswith("blk."):
            state[OTHER_PARTS[name]] = weight
            continue
        _, number, part, _ = name.split(".")
        place = f"model.layers.{number}.{LAYER_PARTS[part]}.weight"
        state[place] = weight
        if part in turned:
            # GGUF has what a rotation turns as neighbours, transformers in two halves.
            pairs = weight.view(turned[part], -1, 2, shape.width)
            state[place] = pairs.transpose(1, 2).reshape(weight.shape)
    missing, unexpected = network.load_state_dict(state, strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:
        raise SystemExit(f"transformers' Llama has other weights: {missing} {unexpected}")
    network.tie_weights()
    return network


def main() -> None:
    name, path = sys.argv[1], Path(sys.argv[2])
    run = {"openvino": open_openvino, "transformers": open_transformers}[name](path)
    # Its own lines only: libraries print to standard output too.
    print('{"ready": true}', flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        wall, arrivals = run(asked["prompts"], asked["tokens"])
        print(json.dumps({"wall": wall, "arrivals": arrivals}), flush=True)


if __name__ == "__main__":
    main()
