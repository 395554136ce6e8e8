"""What this machine has: CPUs, memory, and GPUs found through NVML or declared as fakes."""

import importlib
import os
from dataclasses import dataclass

from tokenyard.runtime.job_settings import NodeSettings


@dataclass(frozen=True, slots=True)
class Devices:
    """What jobs may use of a machine."""

    gpus: int
    gpu_model: str
    cpu_milli: int
    memory_mib: int


def find_devices(settings: NodeSettings) -> Devices:
    """What the settings declare, and what is found where they say nothing."""
    gpus, model = settings.gpus, settings.gpu_model
    if gpus < 0:
        gpus, model = _ask_nvml()
    cpus = settings.cpus or float(os.cpu_count() or 1)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Devices(gpus, model, round(cpus * 1000), settings.memory_mib or pages >> 20)


def _ask_nvml() -> tuple[int, str]:
    """How many GPUs there are, and the model of the first; none without the library."""
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
    except Exception:  # the library raises errors of its own when there is no driver
        return 0, ""
    try:
        count = int(nvml.nvmlDeviceGetCount())
        if not count:
            return 0, ""
        name = nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByIndex(0))
        return count, name.decode() if isinstance(name, bytes) else str(name)
    finally:
        nvml.nvmlShutdown()
