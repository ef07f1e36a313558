"""One call of a simulated phone: what a person does with it, sees of it and hears in it.

Promises: every instant is monotonic seconds, stamped when the event happened (``as_utc`` turns one into wall-clock
time); every wait has a deadline and fails with a sentence that says how the call stands instead; audio is moved by
``pump``, which whoever owns the call calls often enough.

Does not know: accounts, scripts, the stack's life (``phone``), how a tone is told from noise (``tones``).
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any, Literal, Protocol

from baresip.errors import AudioNotActive, AudioRestarted, BaresipError, StaleHandleError
from baresip.events import Event

from ccsvc.errors import CcsvcError
from ccsvc.testing.tones import RATE_HZ, Heard, level, tone_wave

PUMP_EVERY_S = 0.04
TONE_AHEAD_BYTES = 6400
"""How much tone lies ready in the stack, 0.4 s: the audio thread may be late by as much before the tone breaks."""
READ_BYTES = 32000
POLL_S = 0.05
REINVITE_S = 4.0
CLOSE_S = 3.0
QUIET = 0.003
"""RMS below which a phone calls it silence, as a share of full scale (-50 dB; idle G.711 is below)."""

_EPOCH = datetime.now(UTC) - timedelta(seconds=time.monotonic())


def as_utc(at: float) -> datetime:
    """The wall-clock time of an instant of ``time.monotonic``."""
    return _EPOCH + timedelta(seconds=at)


class PhoneError(CcsvcError):
    """A phone could not do what it was asked; the text says which phone, what, and what the far end said."""

    code = "phone"


class PhoneTimeout(PhoneError, TimeoutError):  # noqa: N818 - named as AmiTimeout and AgiTimeout are
    """What was waited for did not happen within its deadline; the text says how the call stands instead."""

    code = "phone_not_in_time"


class CallState(StrEnum):
    """Where a call is, as this phone sees it. ``RINGING`` is either our bell or the far end's."""

    DIALLING = "dialling"
    RINGING = "ringing"
    ESTABLISHED = "established"
    ENDED = "ended"


@dataclass(frozen=True)
class CallEnd:
    """How a call ended: by whom, in plain words, with the codes the far end gave, and the stack's own text."""

    by: Literal["local", "remote"]
    reason: str
    sip_status: int | None
    q850_cause: int | None
    raw: str


class Owner(Protocol):
    """What a call needs of the phone it belongs to."""

    user: str
    tone_hz: int
    keep_heard_s: float

    def uri(self, number: str) -> str:
        """The SIP address of a number."""

    async def refuse(self, call_id: str, code: int) -> None:
        """Reject an inbound call with a code of choice."""


class PhoneCall:
    """One call of one phone. Made by ``Phone.dial`` and ``Phone.wait_for_call``, never by hand."""

    def __init__(self, phone: Owner, call: Any, *, inbound: bool) -> None:
        self.phone = phone
        self.inbound = inbound
        self.created_at: float = 0.0
        self.ringing_at: float | None = None
        self.established_at: float | None = None
        self.ended_at: float | None = None
        self.end: CallEnd | None = None
        self.held_by_us = False
        self.digits = ""
        """Keys the far end pressed so far."""
        self.heard = Heard(self._pull, time.monotonic, keep_s=phone.keep_heard_s)
        self._call = call
        self._audio = call.audio
        self._ending_with: str | None = None
        self._leaving_with: str | None = None
        self._answered_offers = 0
        self._tone_at = 0
        self._news = asyncio.Event()

    def __repr__(self) -> str:
        way = "from" if self.inbound else "to"
        notes = (self.state, self.end_reason, self.digits and f"far end pressed {self.digits}")
        return f"<call of {self.phone.user} {way} {self.peer}: {', '.join(filter(None, notes))}>"

    @property
    def state(self) -> CallState:
        """Where the call is now."""
        if self.ended_at is not None:
            return CallState.ENDED
        if self.established_at is not None:
            return CallState.ESTABLISHED
        return CallState.RINGING if self.ringing_at is not None else CallState.DIALLING

    @property
    def peer(self) -> str:
        """The user part of the far end's address: the caller's number, or the number dialled."""
        return re.sub(r"^<?sips?:([^@;>]*).*$", r"\1", self.peer_uri)

    @property
    def peer_uri(self) -> str:
        """The far end's whole SIP address, as the stack has it."""
        return str(self._call.peer or "")

    @property
    def call_id(self) -> str:
        """The SIP Call-ID of this leg, to find it in a log or a trace."""
        return str(self._call.call_id or "")

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the INVITE that rang us, of those ``PhoneLine`` was told to show."""
        return dict(self._call.headers)

    @property
    def end_reason(self) -> str:
        """Why it ended, in words; empty before."""
        return self.end.reason if self.end else ""

    @property
    def held_by_far_end(self) -> bool:
        """Whether the far end told us that we are on hold. A PBX in between usually does not."""
        return bool(self._call.remote_on_hold)

    # -- what a person does ----------------------------------------------------------------------------

    async def answer(self, deadline_s: float = 3.0) -> None:
        """Pick up, and wait until the call stands."""
        await self._do("answer", self._call.answer())
        await self.wait_established(deadline_s)

    async def reject(self, code: int = 486) -> None:
        """Refuse a ringing call with a SIP code from 400 to 699, and wait until it is gone."""
        if not 400 <= code <= 699:
            raise ValueError(f"code must be 400 to 699, is {code}")
        self._ending_with = f"rejected here with {code}"
        by_hand = code != 486  # the only one the stack has a command for
        await self._do("reject", self.phone.refuse(self.call_id, code) if by_hand else self._call.reject())
        await self.wait_ended(CLOSE_S)

    async def hang_up(self) -> None:
        """End the call in any state, and wait until it is gone; an ended call stays as it is."""
        if self.state is CallState.ENDED:
            return
        self._ending_with = "gave up here" if self.established_at is None else "hung up here"
        try:
            await self._do("hang up", self._call.hangup())
        except PhoneError as late:
            if not isinstance(late.__cause__, StaleHandleError):
                raise  # otherwise the far end was faster, and its end is on the way
        await self.wait_ended(CLOSE_S)

    async def press(self, digits: str, gap_s: float = 0.12) -> None:
        """Press keys (0-9 A-D * #), 0.1 s each with ``gap_s`` between, as RFC 4733 events."""
        await self._do("press", self._call.send_dtmf(digits, interdigit_ms=round(gap_s * 1000)))

    async def hold(self) -> None:
        """Put the far end on hold, and wait until it has agreed."""
        if not self.held_by_us:
            await self._reinvite("hold", self._call.hold)
            self.held_by_us = True

    async def resume(self) -> None:
        """Take the far end back from hold, and wait until it has agreed."""
        if self.held_by_us:
            await self._reinvite("resume", self._call.resume)
            self.held_by_us = False

    async def blind_transfer(self, number: str, deadline_s: float = 10.0) -> None:
        """Send the far end to ``number`` and leave. Raises PhoneError when refused: the call then goes on."""
        transfer = self._call.transfer(self.phone.uri(number), timeout=deadline_s)
        await self._leave((self,), f"transferred to {number}", transfer)

    async def attended_transfer(self, other: "PhoneCall", deadline_s: float = 10.0) -> None:
        """Connect this call's far end with ``other``'s and leave both. Holds both first, as phones do."""
        await self.hold()
        await other.hold()
        transfer = self._call.attended_transfer(other._call, timeout=deadline_s)
        await self._leave((self, other), f"connected {self.peer} with {other.peer}", transfer)

    # -- what a person sees and hears ------------------------------------------------------------------

    async def wait_ringing(self, deadline_s: float = 5.0) -> None:
        """Until it rings, here or there (or is past that)."""
        await self._until(lambda: self.state is not CallState.DIALLING, deadline_s, "ringing")
        if self.ringing_at is None and self.established_at is None:
            raise PhoneError(f"{self} never rang")

    async def wait_established(self, deadline_s: float = 5.0) -> None:
        """Until somebody picked up. Raises PhoneError when the call ended instead."""
        reached = (CallState.ESTABLISHED, CallState.ENDED)
        await self._until(lambda: self.state in reached, deadline_s, "established")
        if self.established_at is None:
            raise PhoneError(f"{self} was never answered")

    async def wait_ended(self, deadline_s: float = 5.0) -> CallEnd:
        """Until it is over; says how."""
        await self._until(lambda: self.end is not None, deadline_s, "ended")
        assert self.end is not None
        return self.end

    async def wait_digits(self, digits: str, deadline_s: float = 5.0) -> None:
        """Until the far end has pressed exactly these keys, from the start of the call."""
        await self._until(lambda: self.digits == digits, deadline_s, f"sent the keys {digits}")

    def hears(self, hz: int, *, last_s: float = 0.5) -> bool:
        """Whether that tone sounded through the latest ``last_s``."""
        return hz in self.heard.tones({hz}, last_s=last_s)

    def is_silent(self, *, last_s: float = 0.5) -> bool:
        """Whether nothing at all sounded in the latest ``last_s``; not before we could listen for so long."""
        latest = self.heard.last(last_s)
        return len(latest) >= round(last_s * RATE_HZ) and level(latest) < QUIET

    async def wait_hears(self, hz: int, deadline_s: float = 5.0) -> None:
        """Until that tone sounds."""
        await self._poll(lambda: self.hears(hz), deadline_s, f"hearing {hz} Hz")

    async def wait_not_hears(self, hz: int, deadline_s: float = 5.0) -> None:
        """Until that tone has stopped for half a second, whatever else sounds."""
        await self._poll(lambda: not self.hears(hz), deadline_s, f"rid of {hz} Hz")

    async def wait_silent(self, deadline_s: float = 5.0) -> None:
        """Until nothing at all sounded for half a second."""
        await self._poll(self.is_silent, deadline_s, "silent")

    # -- what the line does to it ----------------------------------------------------------------------

    def take(self, event: Any, at: float) -> None:
        """One event of the stack about this call, which happened at ``at``."""
        kind = event.event
        if kind in (Event.CALL_INCOMING, Event.CALL_RINGING, Event.CALL_PROGRESS):
            self.ringing_at = self.ringing_at or at
        elif kind is Event.CALL_ESTABLISHED:
            self.established_at = at
        elif kind is Event.CALL_CLOSED:
            self._close(event.text or "", at)
        elif kind is Event.CALL_REMOTE_SDP:
            self._answered_offers += event.text == "answer"
        elif kind is Event.CALL_DTMF_START:
            self.digits += event.text or ""
        if kind in (Event.CALL_PROGRESS, Event.CALL_ESTABLISHED):
            self.heard.begin(at)
        self._news.set()

    def pump(self) -> None:
        """AUDIO THREAD, every ``PUMP_EVERY_S``. Send the next stretch of tone, take over what was heard."""
        if self.heard.started_at is None:
            return
        self.heard.catch_up()
        with contextlib.suppress(AudioNotActive, AudioRestarted):  # no media now; the next round finds it again
            room = TONE_AHEAD_BYTES - self._audio.info().tx_buffered
            if room > 0:
                tone = _looping(self.phone.tone_hz)
                sent = self._audio.write(tone[self._tone_at : self._tone_at + room])
                self._tone_at = (self._tone_at + sent) % (len(tone) // 2)

    def _pull(self) -> bytes:
        try:
            return bytes(self._audio.read(READ_BYTES))
        except (AudioNotActive, AudioRestarted):
            return b""  # silence, to the listener

    def _close(self, raw: str, at: float) -> None:
        self.heard.finish(at)
        self.end = _end_of(self, raw)
        self.ended_at = at

    async def _do(self, what: str, action: Any) -> None:
        try:
            await action
        except (BaresipError, ValueError) as refused:
            raise PhoneError(f"{self}: {what}: {refused}") from refused

    async def _leave(self, legs: "tuple[PhoneCall, ...]", words: str, transfer: Any) -> None:
        """Hand the far end over. The PBX's BYE may overtake its report that all went well: gone is gone."""
        for leg in legs:
            leg._leaving_with = words
        try:
            await self._do("transfer", transfer)
        except PhoneError:
            if self.state is not CallState.ENDED:
                for leg in legs:
                    leg._leaving_with = None
                raise
        for leg in legs:
            await leg.wait_ended(CLOSE_S)

    async def _reinvite(self, what: str, send: Callable[[], Any]) -> None:
        """Hold or resume: again while another re-INVITE is under way, then until the far end agreed."""
        give_up_at = time.monotonic() + REINVITE_S
        while True:
            before = self._answered_offers
            try:
                await send()
                break
            except BaresipError as refused:
                if "in flight" not in str(refused) or time.monotonic() > give_up_at:
                    raise PhoneError(f"{self}: {what}: {refused}") from refused
                await asyncio.sleep(POLL_S)
        await self._until(lambda: self._answered_offers > before, REINVITE_S, f"agreed to {what}")

    async def _until(self, reached: Callable[[], bool], deadline_s: float, what: str) -> None:
        try:
            async with asyncio.timeout(deadline_s):
                while not reached():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise PhoneTimeout(f"{self} was not {what} within {deadline_s:g} s") from None

    async def _poll(self, reached: Callable[[], bool], deadline_s: float, what: str) -> None:
        give_up_at = time.monotonic() + deadline_s
        while not reached():
            if time.monotonic() > give_up_at:
                raise PhoneTimeout(
                    f"{self} was not {what} within {deadline_s:g} s; level {level(self.heard.last(0.5)):.3f}"
                )
            await asyncio.sleep(POLL_S)


@lru_cache(maxsize=128)
def _looping(hz: int) -> bytes:
    """A second of a tone twice over, so that any stretch of up to a second is one slice of it."""
    return tone_wave(hz, 1.0).tobytes() * 2


def _end_of(call: PhoneCall, raw: str) -> CallEnd:
    """What a close text of the stack means to a person."""
    text, *_ = raw.split(",")
    status = int(found[0]) if (found := re.match(r"\d{3}(?= )", text)) else None
    cause = int(found[1]) if (found := re.search(r"Q\.850;cause=(\d+)", raw)) else None
    if call._leaving_with is not None:
        return CallEnd("local", call._leaving_with, status, cause, raw)
    ours = call._ending_with
    if ours is not None and status is None and not text.startswith("Connection reset"):
        return CallEnd("local", ours, status, cause, raw)
    if status is not None or not text.startswith("Connection reset"):
        return CallEnd("remote", text or "no reason given", status, cause, raw)
    words = "far end hung up" if call.established_at is not None else "caller gave up"
    return CallEnd("remote", words, status, cause, raw)
