"""What a caller sends is text: stored and shown as it was sent, executed nowhere."""

import asyncio
import re
from pathlib import Path

import pytest

from ccsvc.testing.rawsip import raw_call
from ccsvc.testing.waiting import eventually
from tests.acceptance.lanes import TRUNK_HOST, Lane

OWNED = Path("/tmp/ccsvc-owned")
SIP_ESCAPE = re.compile(r"\\(.)")
"""A backslash before a character inside a quoted name (RFC 3261, quoted-pair)."""

NAMES = {
    "a dialplan expression": "${SHELL(touch /tmp/ccsvc-owned)}",
    "SQL": "a'); DROP TABLE ccsvc.call; --",
    "quotes and backslashes": 'quo"te \\ back',
    "Unicode line ends": "line\u2028sep\u0085next",
    "percent-encoded newlines": "x%0d%0aAction: Originate",
    "ten kilobytes": "\N{GREEK CAPITAL LETTER OMEGA}" * 5000,
    "a control character at its end": "x\x01",
    "Persian and Arabic": "رضا احمدی \N{ZERO WIDTH NON-JOINER} ليلى",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
async def test_a_hostile_name_is_stored_and_shown_verbatim(lane: Lane, name: str) -> None:
    """Verbatim: what the PBX keeps of it (79 bytes), without SIP's escapes; its console says how much that is."""
    number = f"77{lane.n}"
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    header = f'"{quoted}" <sip:{number}@{TRUNK_HOST}>'.encode()
    pbx = ("127.0.0.1", lane.stack.settings.pbx.sip_port)
    async with raw_call(lane.to_menu, header, pbx, TRUNK_HOST) as call:
        await eventually(call.established.is_set, f"the call is answered: {call.answers}")
        kept = SIP_ESCAPE.sub(r"\1", await name_on_the_console(lane, number))
        assert kept
        assert name.startswith(kept)
        await eventually(lambda: shown(lane, kept), f"{kept!r} in the live view")
        await call.hang_up()
    row = await lane.stack.call_of(number)
    names = await lane.stack.rows("SELECT caller_name FROM ccsvc.call WHERE call_id = $1", row["call_id"])
    assert names[0]["caller_name"] == kept
    assert (row["ended_by"], row["repaired"]) == ("customer", False), "no event of the call was hidden"
    assert not await asyncio.to_thread(OWNED.exists)


async def name_on_the_console(lane: Lane, number: str) -> str:
    """What the PBX itself shows of the call from this number."""
    listed = await lane.stack.pbx.cli("core show channels concise")
    channels = [line.partition("!")[0] for line in listed.split("\n") if f"!{number}!" in line]
    assert len(channels) == 1, channels
    shown = await lane.stack.pbx.cli(f"core show channel {channels[0]}")
    return next(line.partition(": ")[2] for line in shown.split("\n") if "Caller ID Name" in line)


async def shown(lane: Lane, name: str) -> bool:
    calls = (await lane.stack.daemon.get("/api/v1/calls"))["calls"]
    return any(c["did"] == lane.to_menu and c["caller_name"] == name for c in calls)
