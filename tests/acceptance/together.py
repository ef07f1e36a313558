"""Runs the acceptance tests side by side on one PBX: `python -m tests.acceptance.together [pytest arguments]`.

Starts one stack, then pytest with several processes that all use it, each with lanes of its own. Tests that break
something start a stack of their own in any case. The demo, which holds its own clock against the phones', runs by
itself afterwards.
"""

import asyncio
import os
import sys

from ccsvc.testing.shared import VARIABLE, address_of
from ccsvc.testing.stack import Stack
from tests.acceptance.lanes import lanes_settings

PROCESSES = 2
DEMO = "tests/acceptance/test_demo.py"


async def main() -> int:
    async with Stack(lanes_settings()) as stack:
        together = ("tests/acceptance", f"--ignore={DEMO}", "-n", str(PROCESSES))
        status = await pytest(*together, environment={VARIABLE: address_of(stack)})
    return status or await pytest(DEMO)


async def pytest(*arguments: str, environment: dict[str, str] | None = None) -> int:
    """Run it and return its exit status."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", *arguments, *sys.argv[1:]), env={**os.environ, **(environment or {})}
    )
    return await process.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
