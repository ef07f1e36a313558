"""How long an agent stays idle while a caller waits: from their hang-up to the next ring, on real phones.

The peer is app_queue on the same PBX, with the same phones in the same run: the daemon is stopped, and the PBX's own
queue serves the callers. Both are seen by the agent's phone, so neither can flatter itself.
"""

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace

from ccsvc.settings import Settings
from ccsvc.testing.phone import Answer, Phone, PhoneCall, PhoneLine
from ccsvc.testing.sample import sample_settings
from ccsvc.testing.stack import Stack
from ccsvc.testing.tones import PALETTE
from ccsvc.testing.waiting import eventually

ROUNDS = 20
AGENT, DEVICE, PIN = "101", "d101", "1234"
CALLERS = ("c1", "c2")
PHONES = (DEVICE, *CALLERS)
WAIT_S = 20.0


def without_wrap_up() -> Settings:
    """The sample, without after-call work: what is left is the machine's own delay."""
    settings = sample_settings()
    return replace(
        settings,
        queue=tuple(replace(q, wrap_up_s=0.0, record=False) for q in settings.queue),
        agent=tuple(replace(a, pin=PIN, pin_file="", pin_hash="") for a in settings.agent),
    )


async def idle_seconds() -> tuple[list[float], list[float]]:
    """(with the daemon, with app_queue): seconds from hang-up to ring, one for each round."""
    settings = without_wrap_up()
    agent = next(a for a in settings.agent if a.number == AGENT)
    number = next(d.number for d in settings.did if d.target == f"queue:{agent.queues[0]}")
    async with Stack(settings) as stack, PhoneLine() as line:
        phones = {name: await _phone(stack, line, name, hz) for name, hz in zip(PHONES, PALETTE, strict=False)}
        desk = phones[DEVICE]
        desk.answering = Answer(after_s=0.0)
        await _log_in(desk)
        callers = [phones[name] for name in CALLERS]
        ours = await _rounds(desk, callers, number)
        await stack.daemon.stop()
        theirs = await _rounds(desk, callers, number)
        return ours, theirs


async def _phone(stack: Stack, line: PhoneLine, name: str, tone_hz: int) -> Phone:
    return await line.phone(name, domain=stack.sip, password=stack.secret_of(name), tone_hz=tone_hz)


async def _log_in(desk: Phone) -> None:
    call = await desk.dial("*10")
    for keys in (f"{AGENT}#", f"{PIN}#"):
        await eventually(lambda: not call.is_silent(last_s=0.1), "a sentence")
        await call.press(keys)
    await call.wait_ended(20)


async def _rounds(desk: Phone, callers: Sequence[Phone], number: str) -> list[float]:
    """One caller talks, the other one waits; when the talk ends, the next ring is timed; then they change places."""
    before = len(desk.calls)
    talking = await callers[0].dial(number)
    at_desk = await _rung(desk, before)
    await at_desk.wait_established(WAIT_S)
    found = []
    for n in range(ROUNDS):
        waiting = await callers[(n + 1) % len(callers)].dial(number)
        await talking.wait_hears(desk.tone_hz, WAIT_S)
        await waiting.wait_established(WAIT_S)
        await _hears_music(waiting)
        before = len(desk.calls)
        await at_desk.hang_up()
        next_call = await _rung(desk, before)
        assert at_desk.ended_at is not None
        assert next_call.ringing_at is not None
        found.append(next_call.ringing_at - at_desk.ended_at)
        await next_call.wait_established(WAIT_S)
        await talking.wait_ended(WAIT_S)
        talking, at_desk = waiting, next_call
    await at_desk.hang_up()
    await talking.wait_ended(WAIT_S)
    return found


async def _hears_music(call: PhoneCall) -> None:
    """A caller who hears something for half a second is in the queue."""

    def music() -> bool:
        return call.heard.received_s > 1 and not call.is_silent(last_s=0.5)

    await eventually(music, "the caller waits with music", deadline_s=WAIT_S)


async def _rung(desk: Phone, before: int) -> PhoneCall:
    def ringing() -> PhoneCall | None:
        inbound = [call for call in desk.calls[before:] if call.inbound and call.ringing_at is not None]
        return inbound[0] if inbound else None

    found = await eventually(ringing, "the agent's phone rings", deadline_s=WAIT_S, every_s=0.005)
    assert found is not None
    return found


def measure() -> tuple[list[float], list[float]]:
    return asyncio.run(idle_seconds())
