"""What is asked of NVML, with the real library; most machines that test this have no GPU."""

import inspect
import re
import sys

import pytest

from tokenyard.jobs.executors import devices
from tokenyard.jobs.executors.devices import Gauge, find_devices
from tokenyard.runtime.job_settings import NodeSettings
from tokenyard.vocabulary.reasons import Reason

ASKS = NodeSettings(gpus=-1)


def test_every_name_that_we_use_is_the_librarys() -> None:
    pynvml = pytest.importorskip("pynvml")
    used = set(re.findall(r"nvml\.(nvml\w+)", inspect.getsource(devices)))
    assert len(used) >= 6
    assert [name for name in sorted(used) if not callable(getattr(pynvml, name, None))] == []


def test_gpus_are_found_or_it_is_said_why_not() -> None:
    pynvml = pytest.importorskip("pynvml")
    found = find_devices(ASKS)
    refusal = ""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        refusal = str(error)
    if refusal:
        assert (found.gpus, found.without) == (0, Reason.NVML_UNAVAILABLE)
        assert found.detail == refusal
        assert Gauge(2, declared=False).load(0.0) == ()
        return
    assert found.gpus == pynvml.nvmlDeviceGetCount()
    assert (found.without, bool(found.gpu_model)) == (None, found.gpus > 0)
    assert len(Gauge(found.gpus, declared=False).load(0.0)) == found.gpus
    pynvml.nvmlShutdown()


def test_without_the_library_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    found = find_devices(ASKS)
    assert (found.gpus, found.without) == (0, Reason.NVML_NOT_INSTALLED)
    # Declared ones need nobody to be asked.
    assert find_devices(NodeSettings(gpus=4)).without is None
