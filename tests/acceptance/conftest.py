"""One stack for all tests that can share it; a lane of it for each test; nothing left over after each."""

import asyncio
import os
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest_asyncio

from ccsvc.testing.phone import PhoneLine
from ccsvc.testing.shared import VARIABLE, attached
from ccsvc.testing.stack import Stack
from ccsvc.testing.waiting import eventually
from tests.acceptance.lanes import LANES, Lane, lanes_settings
from tests.acceptance.together import PROCESSES

SPARE_DESCRIPTORS = 2
"""Connections to the database and for scrapes come and go; a leak grows beyond this within a few tests."""

LANES_EACH = LANES // PROCESSES
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_lanes = count(10 + _worker * LANES_EACH)


@pytest_asyncio.fixture(scope="session")
async def line() -> AsyncIterator[PhoneLine]:
    async with PhoneLine() as line:
        yield line


@pytest_asyncio.fixture(scope="session")
async def stack() -> AsyncIterator[Stack]:
    async with attached() or Stack(lanes_settings()) as stack:
        yield stack


@pytest_asyncio.fixture
async def lane(stack: Stack, line: PhoneLine) -> AsyncIterator[Lane]:
    lane = Lane(stack, line, next(_lanes))
    tasks, descriptors = names_of_tasks(), await asyncio.to_thread(open_descriptors, stack)
    try:
        yield lane
    finally:
        for phone in lane.phones.values():
            await phone.close()
    await eventually(lambda: is_quiet(lane), "no channel of this lane left", deadline_s=10)
    await eventually(lambda: names_of_tasks() <= tasks, f"no task left: {names_of_tasks() - tasks}")

    async def no_descriptor_left() -> bool:
        return await asyncio.to_thread(open_descriptors, stack) <= descriptors + SPARE_DESCRIPTORS

    if VARIABLE not in os.environ:  # with neighbours on the same daemon its descriptors are not ours alone
        await eventually(no_descriptor_left, f"the daemon's descriptors back at {descriptors}")


async def is_quiet(lane: Lane) -> bool:
    """No channel of a device of this lane is up: `PJSIP/a101-…` is agent 1's of lane 10."""
    output = await lane.stack.pbx.cli("core show channels concise")
    devices = [row.partition("/")[2].rpartition("-")[0] for row in output.split("\n") if row.startswith("PJSIP/")]
    return not any(device[1:3] == str(lane.n) for device in devices)


def names_of_tasks() -> set[str]:
    """The tasks of this process that somebody has named; unnamed ones are the test runner's."""
    names = {task.get_name() for task in asyncio.all_tasks()}
    return {name for name in names if not name.startswith("Task-")}


def open_descriptors(stack: Stack) -> int:
    """Of the daemon's process."""
    return len(os.listdir(Path("/proc") / str(stack.daemon.pid) / "fd"))  # noqa: PTH208  names are all that is wanted
