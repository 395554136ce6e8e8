"""llama.cpp's own server from the `xllamacpp` package, as a process with an address file."""

import argparse
import os
import sys
from pathlib import Path

import xllamacpp  # type: ignore[import-untyped]

SLOTS = 64
SLOT_TOKENS = 512


def main() -> None:
    """Serve until standard input closes or a signal comes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--address-file", type=Path, required=True)
    asked = parser.parse_args()
    parameters = xllamacpp.CommonParams()
    parameters.model.path = asked.model
    parameters.model_alias = {"smollm2-135m-instruct"}
    parameters.n_parallel = SLOTS
    parameters.n_ctx = SLOTS * SLOT_TOKENS
    parameters.cpuparams.n_threads = os.cpu_count() or 1
    parameters.cpuparams_batch.n_threads = os.cpu_count() or 1
    parameters.port = 0
    server = xllamacpp.Server(parameters)
    asked.address_file.write_text(server.listening_address)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
