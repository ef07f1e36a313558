"""One stack for all tests that can share it; a lane of it for each test; nothing left over after each."""

from collections.abc import AsyncIterator
from itertools import count

import pytest_asyncio

from ccsvc.testing.phone import PhoneLine
from ccsvc.testing.stack import Stack
from ccsvc.testing.waiting import eventually
from tests.acceptance.lanes import Lane, lanes_settings

_lanes = count(10)


@pytest_asyncio.fixture(scope="session")
async def line() -> AsyncIterator[PhoneLine]:
    async with PhoneLine() as line:
        yield line


@pytest_asyncio.fixture(scope="session")
async def stack() -> AsyncIterator[Stack]:
    async with Stack(lanes_settings()) as stack:
        yield stack


@pytest_asyncio.fixture
async def lane(stack: Stack, line: PhoneLine) -> AsyncIterator[Lane]:
    lane = Lane(stack, line, next(_lanes))
    yield lane
    for phone in lane.phones.values():
        await phone.close()

    async def quiet() -> bool:
        output = await stack.pbx.cli("core show channels concise")
        mine = [row for row in output.splitlines() if f"{lane.n}" in row.partition("-")[0]]
        return not mine

    await eventually(quiet, "no channel of this lane left", deadline_s=10)
