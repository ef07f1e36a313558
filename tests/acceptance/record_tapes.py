"""Records tapes from a real PBX: `python -m tests.acceptance.record_tapes`, into tests/tapes/.

Each is one acceptance test, as the daemon was told of it. `tests/unit/test_tapes.py` plays them again: from every
later start, and with events missing and doubled.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from msgspec.structs import replace

from ccsvc.settings import Settings
from ccsvc.testing.phone import PhoneLine
from ccsvc.testing.stack import Stack
from tests.acceptance import test_calls, test_people
from tests.acceptance.lanes import Lane, lanes_settings

TAPES = Path(__file__).parents[1] / "tapes"
SCENES: dict[str, Callable[[Lane], Awaitable[None]]] = {
    "answered": test_calls.test_a_caller_reaches_an_agent_and_both_are_heard_and_recorded,
    "abandoned-while-waiting": test_calls.test_a_caller_who_hangs_up_while_waiting_is_abandoned,
    "abandoned-while-ringing": test_calls.test_a_caller_who_hangs_up_while_an_agent_rings_is_nobodys_fault,
    "ring-no-answer": test_calls.test_an_agent_who_does_not_answer_is_followed_by_the_next_and_the_place_is_kept,
    "rejected": test_calls.test_an_agent_who_rejects_is_passed_over,
    "busy-then-free": test_calls.test_a_busy_agent_who_becomes_free_is_offered_the_waiting_caller,
    "menu-and-language": test_calls.test_submenu_language_and_hash_key,
    "maximum-wait": test_calls.test_the_maximum_wait_ends_the_wait_also_while_an_agent_rings,
    "listened-to": test_people.test_a_supervisor_hears_both_and_is_heard_by_neither,
    "hot-desk": test_people.test_an_agent_logs_in_at_another_phone_and_is_called_there,
}


def taped(settings: Settings, name: str) -> Settings:
    return replace(settings, state=replace(settings.state, tape=str(TAPES / f"{name}.jsonl")))


async def main() -> int:
    TAPES.mkdir(exist_ok=True)
    async with PhoneLine() as line:
        for name, scene in SCENES.items():
            print(f"recording {name} …", flush=True)
            async with Stack(taped(lanes_settings(1), name)) as stack:
                lane = Lane(stack, line, 10)
                await scene(lane)
                for phone in lane.phones.values():
                    await phone.close()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
