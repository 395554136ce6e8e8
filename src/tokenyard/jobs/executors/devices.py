"""What this machine has: CPUs, memory, and GPUs found through NVML or declared as fakes."""

import importlib
import os
from dataclasses import dataclass

from tokenyard.runtime.job_settings import NodeSettings
from tokenyard.vocabulary.reasons import Reason

_LOAD_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Devices:
    """What jobs may use of a machine."""

    gpus: int
    gpu_model: str
    cpu_milli: int
    memory_mib: int
    # Why no GPUs were found, in a word and in the library's own; None where that was not tried.
    without: Reason | None = None
    detail: str = ""


def find_devices(settings: NodeSettings) -> Devices:
    """What the settings declare, and what is found where they say nothing."""
    gpus, model = settings.gpus, settings.gpu_model
    without: Reason | None = None
    detail = ""
    if gpus < 0:
        try:
            gpus, model = _ask_nvml()
        except ImportError:
            gpus, without = 0, Reason.NVML_NOT_INSTALLED
        except Exception as error:  # the library's errors, for want of a driver or a device
            gpus, without, detail = 0, Reason.NVML_UNAVAILABLE, str(error)
    cpus = settings.cpus or float(os.cpu_count() or 1)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    memory_mib = settings.memory_mib or pages >> 20
    return Devices(gpus, model, round(cpus * 1000), memory_mib, without, detail)


class Gauge:
    """How busy this machine's GPUs are, asked for not more often than it is worth."""

    def __init__(self, gpus: int, declared: bool) -> None:
        # Fakes have nothing to be asked.
        self._gpus = 0 if declared else gpus
        self._asked_at = float("-inf")
        self._load: tuple[float, ...] = ()

    def load(self, now: float) -> tuple[float, ...]:
        """Percent for each GPU; empty where nobody can say. Takes a millisecond or so."""
        if self._gpus and now - self._asked_at >= _LOAD_SECONDS:
            self._asked_at = now
            self._load = _ask_load(self._gpus)
        return self._load


def _ask_load(gpus: int) -> tuple[float, ...]:
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
    except Exception:  # the library raises errors of its own when there is no driver
        return ()
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(gpus)]
        return tuple(float(nvml.nvmlDeviceGetUtilizationRates(one).gpu) for one in handles)
    except Exception:  # a device may have fallen off the bus; what it does is then not known
        return ()
    finally:
        nvml.nvmlShutdown()


def _ask_nvml() -> tuple[int, str]:
    """How many GPUs there are, and the model of the first; raises the library's errors."""
    nvml = importlib.import_module("pynvml")
    nvml.nvmlInit()
    try:
        count = int(nvml.nvmlDeviceGetCount())
        if not count:
            return 0, ""
        name = nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByIndex(0))
        return count, name.decode() if isinstance(name, bytes) else str(name)
    finally:
        nvml.nvmlShutdown()
