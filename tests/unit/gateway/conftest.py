"""Fixtures of the gateway's tests."""

from collections.abc import AsyncIterator

import pytest

from support.yards import FakeYard, open_fake_yard


@pytest.fixture
async def yard() -> AsyncIterator[FakeYard]:
    """A gateway over fakes; its end checks that nothing stayed reserved."""
    async with open_fake_yard() as built:
        yield built
