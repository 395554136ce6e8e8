"""For all tests: how hard properties are tried, where Triton's kernels run, and real servers."""

import gc
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from support.postgres_server import PostgresServer
    from support.ray_cluster import RayCluster
    from support.valkey_server import ValkeyServer


# Triton reads this when it is first imported, and which test imports it first is a matter of order.
os.environ["TRITON_INTERPRET"] = "1"

# `make fast` looks for what is plainly broken; `make test` tries each property a hundred times.
settings.register_profile("fast", max_examples=15)
settings.register_profile("whole", max_examples=100, deadline=None)
settings.load_profile("whole")


def pytest_collection_finish() -> None:
    """What is loaded by now stays; the collector need not look through torch again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgres_server() -> "Iterator[PostgresServer]":
    """A Postgres for the whole run; a test that kills one starts its own."""
    # Not above: most runs of unit tests need none.
    from support.postgres_server import run_postgres  # noqa: PLC0415

    with run_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server() -> "Iterator[ValkeyServer]":
    """A Valkey for the whole run; a test that kills or freezes one starts its own."""
    from support.valkey_server import run_valkey  # noqa: PLC0415

    with run_valkey() as server:
        yield server


@pytest.fixture(scope="session")
def ray_cluster() -> "Iterator[RayCluster]":
    """A Ray cluster for the whole run: a head without GPUs and two nodes with four fakes each."""
    pytest.importorskip("ray")
    from support.ray_cluster import run_ray  # noqa: PLC0415

    with run_ray() as cluster:
        yield cluster
