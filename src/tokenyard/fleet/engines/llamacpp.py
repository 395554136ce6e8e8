"""llama.cpp's own server in a process that we start, from the PyPI package `xllamacpp`.

Decides how our settings become its parameters. It listens before it loads, and answers `/health`
with 503 until it is ready; requests never pass through Python here. A stop signal while it loads
ends it at once; later ones let running answers finish for a set time.
"""

import asyncio
import importlib
import os
import signal
from pathlib import Path
from typing import Any

from tokenyard.engine.catalogue import ModelFile, find_file
from tokenyard.engine.header import read_header
from tokenyard.fleet.engines.contract import (
    EXIT_FAILED,
    announce,
    free_port,
    hold_lifeline,
    url_of,
)
from tokenyard.fleet.rules.capacity import Dtype, tokens_that_fit
from tokenyard.fleet.rules.shapes import VOCABULARY_KEY, shape_of_header
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.engine_settings import EngineSettings
from tokenyard.telemetry.logs import Event, Log
from tokenyard.vocabulary.errors import StartError

PACKAGE = "xllamacpp"
_CONTEXT_STEP = 256
_MEBIBYTE = 1024 * 1024
# Each open connection holds a thread there, the one that asks for its health too.
_SPARE_THREADS = 8
# Warnings and errors; its messages of more than that have a line for every request.
_VERBOSITY = 2
_POLL_SECONDS = 0.05
_BUSY = ("llamacpp:requests_processing ", "llamacpp:requests_deferred ")


def serve(
    settings: EngineSettings,
    models_folder: Path,
    *,
    address_file: Path | None,
    exit_with_parent: bool,
    log: Log,
    clock: Clock,
) -> int:
    """Run it until a stop signal; gives the exit status.

    Parameters as for our own server. Raises StartError when the package or the model is not there,
    the port is taken, or llama.cpp cannot load the file.
    """
    if exit_with_parent:
        hold_lifeline(lambda: os._exit(EXIT_FAILED), even_while_locked=True)
    model = find_file(settings.model, models_folder)
    library = _load_package()
    context_tokens = context_tokens_of(model, settings)
    url = url_of(settings.host, free_port(settings.host, settings.port))
    parameters = _parameters(library, settings, model, url, context_tokens)
    announce(address_file, url)
    log.info(Event.STARTED, address=url, model=model.name)
    began = clock.monotonic()
    try:
        # Holds Python's lock until the model is loaded.
        server = library.Server(parameters)
    except RuntimeError:
        raise StartError(
            f"llama.cpp could not load {model.path}, or not listen on {url}; the lines above, in "
            "its own words, say why."
        ) from None
    seconds = round(clock.monotonic() - began, 3)
    log.info(Event.MODEL_LOADED, model=model.name, seconds=seconds, context_tokens=context_tokens)
    asyncio.run(_stay(server, settings.drain_seconds, log, clock))
    return 0


def context_tokens_of(model: ModelFile, settings: EngineSettings) -> int:
    """How many tokens its KV cache may hold for the memory that the settings allow."""
    header = read_header(model.path)
    vocabulary = header.lengths.get(VOCABULARY_KEY, 0)
    shape = shape_of_header(model.name, header.metadata, header.tensors, vocabulary)
    tokens = tokens_that_fit(settings.kv_cache_bytes, shape, Dtype.FP16)
    if tokens < settings.block_tokens:
        raise StartError(
            f"engine.kv_cache_bytes = {settings.kv_cache_bytes} holds {tokens} tokens of "
            f"{model.name}; set it higher."
        )
    wanted = min(tokens, settings.sequences_max * settings.context_tokens_max)
    # It rounds up to whole steps by itself, which would take more memory than allowed.
    return wanted // _CONTEXT_STEP * _CONTEXT_STEP or wanted


def _load_package() -> Any:
    try:
        return importlib.import_module(PACKAGE)
    except ImportError as error:
        raise StartError(
            f"The package {PACKAGE} cannot be imported ({error}). Install it: "
            "pip install -r requirements/llamacpp.txt, or start with make up ENGINE=llamacpp."
        ) from None


def _parameters(
    library: Any, settings: EngineSettings, model: ModelFile, url: str, context_tokens: int
) -> Any:
    wanted = library.CommonParams()
    wanted.model.path = str(model.path)
    # The name in /v1/models and in every answer.
    wanted.model_alias = {model.name}
    wanted.hostnames = [settings.host]
    wanted.port = int(url.rpartition(":")[2])
    threads = settings.threads or os.cpu_count() or 1
    wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = threads
    # One cache that all sequences share; each may be as long as the model allows.
    wanted.n_ctx = context_tokens
    wanted.kv_unified = True
    wanted.n_parallel = settings.sequences_max
    wanted.n_threads_http = settings.sequences_max + settings.queued_requests_max + _SPARE_THREADS
    wanted.cache_prompt = settings.prefix_cache
    # Prompts of ended sequences are kept beside the cache, in as much memory again.
    kept_bytes = settings.kv_cache_bytes if settings.prefix_cache else 0
    wanted.cache_ram_mib = kept_bytes // _MEBIBYTE
    wanted.verbosity = _VERBOSITY
    wanted.endpoint_metrics = True
    # A page of its own and a view of what others ask have no place here, nor have other origins.
    wanted.ui = False
    wanted.endpoint_slots = False
    wanted.cors_origins = url
    return wanted


async def _stay(server: Any, drain_seconds: float, log: Log, clock: Clock) -> None:
    """Wait for a stop signal, then until it is idle or the time is over."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    log.info(Event.STOPPING)
    deadline = clock.monotonic() + drain_seconds
    while busy(server.handle_metrics()):
        if clock.monotonic() > deadline:
            log.warning(Event.STOPPED, cause="running answers were cut off")
            # Its own end would wait for them.
            os._exit(0)
        await clock.sleep(_POLL_SECONDS)
    log.info(Event.STOPPED)


def busy(metrics: str) -> bool:
    """Whether its metrics tell of a request that runs or waits."""
    lines = [line for line in metrics.splitlines() if line.startswith(_BUSY)]
    return any(float(line.rpartition(" ")[2]) > 0 for line in lines)
