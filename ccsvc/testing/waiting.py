"""Waiting for conditions, never for time."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(
    look: Callable[[], Awaitable[T]], what: str, *, deadline_s: float = 10.0, every_s: float = 0.02
) -> T: ...


@overload
async def eventually(look: Callable[[], T], what: str, *, deadline_s: float = 10.0, every_s: float = 0.02) -> T: ...


async def eventually(look: Callable[[], Any], what: str, *, deadline_s: float = 10.0, every_s: float = 0.02) -> Any:
    """Look again and again until something truthy is seen, and return it; AssertionError after the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        seen = look()
        value = await seen if inspect.isawaitable(seen) else seen
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s:g} s: {what} (last seen: {value!r})")
        await asyncio.sleep(every_s)
