"""Runs the acceptance tests side by side on one PBX: `python -m tests.acceptance.together [pytest arguments]`.

Starts one stack, then pytest with several processes that all use it, each with lanes of its own. Tests that break
something start a stack of their own in any case.
"""

import asyncio
import os
import sys

from ccsvc.testing.shared import VARIABLE, address_of
from ccsvc.testing.stack import Stack
from tests.acceptance.lanes import lanes_settings

PROCESSES = 3


async def main() -> int:
    async with Stack(lanes_settings()) as stack:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pytest", "tests/acceptance", "-n", str(PROCESSES), *sys.argv[1:]),
            env={**os.environ, VARIABLE: address_of(stack)},
        )
        return await process.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
