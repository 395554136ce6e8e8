"""The settings of model servers that we start."""

from typing import Annotated

from msgspec import Meta

from tokenyard.runtime.branch import Branch, Count, Seconds

Port = Annotated[int, Meta(ge=0, le=65535)]


class EngineSettings(Branch, frozen=True):
    """The model servers that we start: our own, llama.cpp, or vLLM by its command."""

    kind: Annotated[
        str,
        Meta(
            description="Which one: `own`, `llamacpp` (requirements/llamacpp.txt) or `vllm`.",
            pattern="^(own|llamacpp|vllm)$",
        ),
    ] = "own"
    command: Annotated[
        str,
        Meta(
            description="For `vllm`: what to start. {port} and {model} are filled in; no shell.",
            pattern=r"\{port\}",
        ),
    ] = "vllm serve {model} --host 127.0.0.1 --port {port}"
    model: Annotated[
        str,
        Meta(
            description="The model to serve: one that `tokenyard models list` shows, the path of a "
            ".gguf file, or for `vllm` what its command takes."
        ),
    ] = "smollm2-135m-instruct"
    host: Annotated[str, Meta(description="Loopback address of the model server.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="Its port; 0 takes a free one.")] = 0
    threads: Annotated[int, Meta(ge=0, description="Compute threads; 0 means one per core.")] = 0
    device: Annotated[
        str,
        Meta(
            description="Where our own server computes: `cpu`, or `cuda` for a GPU with bf16, to "
            "be checked first by `python -m tools.gpu_check`.",
            pattern="^(cpu|cuda)$",
        ),
    ] = "cpu"
    gpu_memory_share: Annotated[
        float,
        Meta(gt=0, le=1, description="Part of the GPU's memory that may be used; `cuda` only."),
    ] = 0.9
    weights: Annotated[
        str,
        Meta(
            description="Format of the weights on the CPU: quantised, as the file has them; fp16; "
            "fp32; or auto for the fastest exact one.",
            pattern="^(auto|quantised|fp16|fp32)$",
        ),
    ] = "auto"
    kernels: Annotated[
        str,
        Meta(
            description="What computes on the CPU: the compiled kernels, torch, or auto for the "
            "kernels where they were built and the processor and the model fit.",
            pattern="^(auto|compiled|torch)$",
        ),
    ] = "auto"
    block_tokens: Annotated[Count, Meta(description="Tokens in one KV cache block.")] = 16
    kv_cache_bytes: Annotated[Count, Meta(description="Memory for the KV cache.")] = (
        192 * 1024 * 1024
    )
    kv_format: Annotated[
        str,
        Meta(
            description="How the KV cache is kept on the CPU: fp32, exact; fp16 or int8, which "
            "hold twice and nearly four times the tokens; or auto for the format of the weights. "
            "The page on engines has what they cost.",
            pattern="^(auto|fp32|fp16|int8)$",
        ),
    ] = "auto"
    context_tokens_max: Annotated[
        Count, Meta(description="Longest sequence; the model's own limit applies as well.")
    ] = 8192
    sequences_max: Annotated[Count, Meta(description="Sequences that run at the same time.")] = 64
    step_tokens_max: Annotated[
        Count, Meta(description="Token budget of one step; long prompts are cut into chunks.")
    ] = 512
    chunk_tokens_max: Annotated[
        Count, Meta(description="Prompt tokens in a step while other sequences are decoding.")
    ] = 128
    prefix_cache: Annotated[
        bool, Meta(description="Whether prompts share the blocks of equal beginnings.")
    ] = True
    reserve_prompts: Annotated[
        bool,
        Meta(
            description="Whether a sequence starts only when its whole prompt fits the KV cache; "
            "else its first chunk has to, and more may have to give way later."
        ),
    ] = True
    watermark: Annotated[
        float,
        Meta(
            ge=0,
            lt=1,
            description="Part of the KV cache left free when a sequence starts beside others.",
        ),
    ] = 0.0
    draft_tokens_max: Annotated[
        int,
        Meta(
            ge=0,
            le=15,
            description="Tokens that a step guesses ahead from repetitions in a text, with few "
            "texts running; 0 for none. Answers are the same with and without.",
        ),
    ] = 0
    adapters: Annotated[
        tuple[str, ...],
        Meta(description="LoRA adapters to start with, each as NAME=FOLDER (PEFT's format)."),
    ] = ()
    adapters_max: Annotated[Count, Meta(description="Most LoRA adapters at a time.")] = 8
    adapter_rank_max: Annotated[Count, Meta(description="Largest rank of a LoRA adapter.")] = 64
    queued_requests_max: Annotated[
        Count, Meta(description="Requests that may wait; further ones get 503 queue_full.")
    ] = 256
    queued_tokens_max: Annotated[
        Count, Meta(description="Prompt tokens that may wait; then further requests get 503 too.")
    ] = 1_000_000
    body_bytes_max: Annotated[
        Count, Meta(description="Longest request body; longer ones get 413.")
    ] = 4 * 1024 * 1024
    grammar_bytes_max: Annotated[
        Count, Meta(description="Longest JSON schema, regex or grammar that an answer is held to.")
    ] = 65_536
    grammars_kept_max: Annotated[
        Count, Meta(description="Compiled forms of answers that are kept for the next request.")
    ] = 64
    template_lines_max: Annotated[
        Count, Meta(description="Lines that the chat template may execute for one prompt.")
    ] = 1_000_000
    template_characters_max: Annotated[
        Count, Meta(description="Characters that the chat template may put out for one prompt.")
    ] = 8_000_000
    drain_seconds: Annotated[
        Seconds, Meta(description="How long running sequences may go on after a stop signal.")
    ] = 10.0
