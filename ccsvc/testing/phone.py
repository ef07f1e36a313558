"""Simulated phones: real SIP user agents in this process that talk in tones and record what they hear.

Promises: one ``PhoneLine`` a process, any number of ``Phone`` on it, any number of calls each. A phone
registers, dials, rings, answers by script or by hand, presses keys, holds, transfers and hangs up, over real SIP
and RTP; it sends its own sine while a call is up and keeps what it hears on a continuous clock (``tones.Heard``).
Instants are monotonic seconds, stamped in the SIP thread as the event happens, so that a busy event loop does
not move them; ``as_utc`` turns one into wall-clock time. They are the ground truth of a test: what a person with
the phone in hand would have seen.

Does not know: Asterisk, queues, agents, how SIP works (that is baresip, pinned to 0.5.2a3: this module leans on
parts of it that are not its public interface, each marked "private").

Known surprises of that stack, each handled below:

- Loopback must be named, or nothing leaves the process; its own limit of two calls must be lifted; it would put
  other calls on hold by itself when one is answered.
- A call that is answered at once can be established before ``dial`` has handed over its object: what happened in
  between is kept and replayed (``PhoneLine.adopt``).
- About 0.1 s after it answered a call the stack sends a re-INVITE that nobody asked for; a hold in that moment
  is refused ("already in flight") and is tried again.
- On a blind transfer Asterisk reports success as soon as it has let go of us, not when the target answers; now
  and then its BYE comes before that report. A call that ends while it is being transferred counts as transferred.
- It can only reject with 486. Other codes are sent by a call into the native library, on its own thread.
- A user agent is never freed while the stack runs (1023 slots for agents and calls): agents are used again.
- Inbound calls find their agent by the user part alone, so one user can have one phone on a line at a time.
- The text of a call's end is the stack's, not the peer's: "Rejected by user" is our own hang-up, "Connection
  reset by peer" a BYE or a CANCEL. ``CallEnd`` says it in plain words.
- While we hold, nothing is sent; what the held party hears is the PBX's music.
- What arrived and is not fetched within a second is thrown away by the stack, and a tone not written in time has
  gaps: audio is moved by a thread of its own, so that a test that blocks the event loop does not break it.
- The loop's default executor keeps the two threads that started and stopped the stack; they end with the loop.
"""

import asyncio
import contextlib
import ctypes
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from baresip import _events, _native
from baresip.config import Account, Config
from baresip.errors import BaresipError
from baresip.events import Event, StackEvent
from baresip.runtime import Runtime
from baresip.ua import UserAgent

from ccsvc.testing.phone_call import (
    CLOSE_S,
    PUMP_EVERY_S,
    CallEnd,
    CallState,
    PhoneCall,
    PhoneError,
    PhoneTimeout,
    as_utc,
)

__all__ = [
    "Answer",
    "Answering",
    "CallEnd",
    "CallState",
    "NeverAnswer",
    "Phone",
    "PhoneCall",
    "PhoneError",
    "PhoneLine",
    "PhoneTimeout",
    "Reject",
    "as_utc",
]

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"

_STACK = """sip_transports udp
call_hold_other_calls no
rtp_ports 10000-32000
audio_jitter_buffer_type off
"""
# RTP ports are tried at random, up to 64 times, until a pair is free: other processes may use the same range.
# No jitter buffer: nothing is reordered on loopback, and it would move what is heard by 0.1 s.


@dataclass(frozen=True)
class Answer:
    """Pick up ``after_s`` of ringing; hang up ``talk_s`` later (None: never)."""

    after_s: float = 0.5
    talk_s: float | None = None


@dataclass(frozen=True)
class Reject:
    """Refuse ``after_s`` of ringing with a SIP code: 486 busy, 603 declined, or any other from 400 to 699.

    What ``Dial`` of Asterisk 22 makes of it: 486 BUSY, 480 NOANSWER, 503 CONGESTION, 603 CHANUNAVAIL.
    """

    code: int = 486
    after_s: float = 0.5

    def __post_init__(self) -> None:
        """Raise ValueError for a code that is no refusal."""
        if not 400 <= self.code <= 699:
            raise ValueError(f"code must be 400 to 699, is {self.code}")


@dataclass(frozen=True)
class NeverAnswer:
    """Ring until the caller gives up, or the test acts on the call itself."""


Answering = Answer | Reject | NeverAnswer


class Phone:
    """One SIP account with a phone behind it. Made by ``PhoneLine.phone``."""

    def __init__(self, line: "PhoneLine", agent: Any, user: str, domain: str, tone_hz: int) -> None:
        self._line = line
        self.user = user
        self.tone_hz = tone_hz
        self.keep_heard_s = line.keep_heard_s
        self._keep_calls = line.keep_calls
        self.answering: Answering = Answer()
        """What happens to calls that arrive from now on; change it at any time."""
        self.calls: list[PhoneCall] = []
        """The calls there were, both ways, oldest first; of those that ended, the last ``keep_calls``."""
        self.registered = False
        self._agent = agent
        self._domain = domain
        self._arrived: deque[PhoneCall] = deque(maxlen=line.keep_calls)
        self._news = asyncio.Event()
        self._scripts: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<phone {self.user}, {self.tone_hz} Hz, {len(self.live_calls)} calls up>"

    @property
    def live_calls(self) -> tuple[PhoneCall, ...]:
        """The calls that have not ended."""
        return tuple(call for call in self.calls if call.ended_at is None)

    async def register(self, deadline_s: float = 5.0) -> None:
        """Tell the registrar where we are (done by ``PhoneLine.phone`` unless told not to)."""
        await self._registration("register", self._agent.register(timeout=deadline_s))
        self.registered = True

    async def unregister(self, deadline_s: float = 5.0) -> None:
        """Take that back. Raises PhoneError when the registrar refuses or does not answer."""
        await self._registration("unregister", self._agent.unregister(timeout=deadline_s))
        self.registered = False

    async def dial(self, number: str, *, headers: dict[str, str] | None = None) -> PhoneCall:
        """Call a number (or a whole ``sip:`` address). Returns at once: await what should come of it."""
        try:
            call = await self._agent.dial(self.uri(number), headers)
        except (BaresipError, ValueError) as refused:
            raise PhoneError(f"{self}: dial {number}: {refused}") from refused
        return self._line.adopt(self, call, inbound=False)

    async def wait_for_call(self, deadline_s: float = 5.0) -> PhoneCall:
        """The next inbound call not yet handed out here, in order of arrival; it may have ended since."""
        try:
            async with asyncio.timeout(deadline_s):
                while not self._arrived:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise PhoneTimeout(f"{self} was not called within {deadline_s:g} s") from None
        return self._arrived.popleft()

    async def refuse(self, call_id: str, code: int) -> None:
        """Reject an inbound call with any code (``PhoneCall.reject`` is the way to ask for it)."""
        await self._line.refuse(call_id, code)

    def uri(self, number: str) -> str:
        """The SIP address of a number at this phone's domain; ``#`` and the like are escaped."""
        return number if number.startswith("sip:") else f"sip:{quote(number, safe='*+')}@{self._domain}"

    async def close(self) -> None:
        """Hang up, unregister, and give the account back to the line. Never raises: what went wrong is logged."""
        for script in self._scripts:
            script.cancel()
        await asyncio.gather(*self._scripts, return_exceptions=True)
        await _all_logged(f"{self} hanging up", *(call.hang_up() for call in self.live_calls))
        if self.registered:
            await _all_logged(f"{self} unregistering", self.unregister(CLOSE_S))
        self._line.take_back(self, self._agent)

    def keep(self, call: PhoneCall) -> None:
        """A call of this phone, either way: note it, and forget the oldest that is over when there are many."""
        self.calls.append(call)
        over = [old for old in self.calls if old.ended_at is not None]
        if len(over) > self._keep_calls:
            self.calls.remove(over[0])

    def ring(self, call: PhoneCall) -> None:
        """An inbound call: note it, and let the script of this moment deal with it."""
        self._arrived.append(call)
        self._news.set()
        script = asyncio.create_task(self._serve(call, self.answering), name=f"phone-{self.user}-script")
        self._scripts.add(script)
        script.add_done_callback(self._scripts.discard)

    async def _serve(self, call: PhoneCall, script: Answering) -> None:
        try:
            match script:
                case Answer(after_s, talk_s):
                    await self._pick_up(call, after_s, talk_s)
                case Reject(code, after_s):
                    if await _still(call, CallState.RINGING, after_s):
                        await call.reject(code)
                case NeverAnswer():
                    pass
        except PhoneError as overtaken:  # by the caller, or by the test acting on the call itself
            log.info("phone %s: its script was overtaken: %s", self.user, overtaken)
        except Exception:
            log.exception("phone %s: its script failed", self.user)

    async def _pick_up(self, call: PhoneCall, after_s: float, talk_s: float | None) -> None:
        if await _still(call, CallState.RINGING, after_s):
            await call.answer()
            if talk_s is not None and await _still(call, CallState.ESTABLISHED, talk_s):
                await call.hang_up()

    async def _registration(self, what: str, action: Any) -> None:
        try:
            await action
        except BaresipError as refused:
            raise PhoneError(f"{self}: {what}: {refused}") from refused


class PhoneLine:
    """The one SIP stack of this process, and its phones: ``async with PhoneLine() as line``.

    Binds free ports of 127.0.0.1, so several processes can each have one. ``show_headers`` names headers of an
    inbound INVITE that ``PhoneCall.headers`` should have; ``sip_trace`` logs every message at DEBUG under
    ``baresip.native.sip``; ``keep_heard_s`` is how much of what it hears each call keeps (16 kB a second), and
    ``keep_calls`` how many calls that are over each phone keeps.
    """

    MAX_EARLY = 64
    """How many calls nobody owns yet may have events kept for them."""

    def __init__(
        self,
        *,
        show_headers: tuple[str, ...] = ("From",),
        sip_trace: bool = False,
        keep_heard_s: float = 900.0,
        keep_calls: int = 200,
    ) -> None:
        self.keep_heard_s, self.keep_calls = keep_heard_s, keep_calls
        self._config = Config(
            net_interface=LOOPBACK,
            max_concurrent_calls=None,
            expose_headers=show_headers,
            sip_trace=sip_trace,
            extra_config_text=_STACK,
        )
        self._runtime = Runtime()
        self._phones: dict[str, Phone] = {}
        self._idle_agents: dict[str, list[Any]] = {}
        self._addresses: dict[int, str] = {}
        self._calls: dict[int, PhoneCall] = {}
        self._early: dict[int, list[tuple[float, StackEvent]]] = {}
        self._event_at = 0.0
        self._on_sip_thread: deque[Callable[[], object]] = deque()
        self._closing = threading.Event()
        self._audio_thread = threading.Thread(target=self._move_audio, name="phone-line-audio", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        await self._runtime.start(self._config)
        self._runtime.subscribe(self._take)
        _events.set_sink(self._stamp)  # private: the runtime's own sink loses the instant of an event
        self._audio_thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def phone(
        self,
        user: str,
        *,
        domain: str,
        password: str,
        tone_hz: int,
        register: bool = True,
        display_name: str | None = None,
    ) -> Phone:
        """A phone for one account. ``domain`` is host:port of the PBX; ``tone_hz`` 0 is a phone that is silent.

        Raises PhoneError when the registrar refuses, or a phone of that name is on the line (the stack tells
        inbound calls apart by the user alone); ValueError for a value SIP cannot carry.
        """
        account = Account(user=user, domain=domain, password=password, reg_interval=600 if register else 0)
        address = account.aor() if display_name is None else f"{_quoted(display_name)} {account.aor()}"
        if user in self._phones:
            raise PhoneError(f"{self._phones[user]} is on this line already: close it first")
        agent = await self._agent(user, address)
        phone = self._phones[user] = Phone(self, agent, user, domain, tone_hz)
        if register:
            await self._first_registration(phone)
        return phone

    async def close(self) -> None:
        """Close every phone, then the stack. Calls are hung up first: the stack would leak them."""
        await asyncio.gather(*(phone.close() for phone in tuple(self._phones.values())))
        self._closing.set()
        await asyncio.to_thread(self._audio_thread.join)
        await self._runtime.close()

    # -- for Phone and PhoneCall ------------------------------------------------------------------------

    def adopt(self, phone: Phone, call: Any, *, inbound: bool) -> PhoneCall:
        """Give a call of the stack to its phone, with the events that came before anybody knew it."""
        ours = PhoneCall(phone, call, inbound=inbound)
        missed = self._early.pop(call.handle, [])
        ours.created_at = missed[0][0] if missed else time.monotonic()
        self._calls[call.handle] = ours
        phone.keep(ours)
        for at, event in missed:
            if not inbound:
                call._on_stack_event(event)  # private: the stack's own object missed it as well
            self._hand_over(ours, event, at)
        return ours

    def take_back(self, phone: Phone, agent: Any) -> None:
        """A phone was closed (perhaps not for the first time): keep its agent for the account's next phone."""
        if self._phones.get(phone.user) is not phone:
            return
        del self._phones[phone.user]
        self._idle_agents.setdefault(self._addresses[agent.handle], []).append(agent)

    async def refuse(self, call_id: str, code: int) -> None:
        """Refuse an inbound call with any code: the stack's own command knows only 486."""
        self._on_sip_thread.append(partial(_reject, call_id.encode(), code))
        await self._runtime.cmd(_native.lib.BP_CMD_PING)  # its echo runs what is queued, in the SIP thread

    # -- events ----------------------------------------------------------------------------------------

    def _stamp(self, kind: int, handle: int, payload: bytes | None) -> None:
        """SIP THREAD. Note the instant, run what must run here, and go over to the loop."""
        at = time.monotonic()
        while kind == _native.lib.BP_EV_PONG and self._on_sip_thread:
            self._on_sip_thread.popleft()()
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(self._deliver, at, kind, handle, payload)

    def _deliver(self, at: float, kind: int, handle: int, payload: bytes | None) -> None:
        self._event_at = at
        self._runtime._dispatch(kind, handle, payload)  # private: what the runtime's own sink would call

    def _take(self, event: StackEvent) -> None:
        if not event.call:
            return
        call = self._calls.get(event.call)
        if call is not None:
            self._hand_over(call, event, self._event_at)
            return
        self._early.setdefault(event.call, []).append((self._event_at, event))
        if len(self._early) > self.MAX_EARLY:
            self._early.pop(next(iter(self._early)))

    def _hand_over(self, call: PhoneCall, event: StackEvent, at: float) -> None:
        call.take(event, at)
        if event.event is Event.CALL_CLOSED:
            self._calls.pop(event.call, None)

    def _incoming(self, user: str, call: Any) -> None:
        phone = self._phones.get(user)
        if phone is None:
            log.warning("a call for phone %s, which is closed: left ringing", user)
            return
        phone.ring(self.adopt(phone, call, inbound=True))

    async def _agent(self, user: str, address: str) -> Any:
        idle = self._idle_agents.get(address)
        if idle:
            return idle.pop()
        agent = await UserAgent.create(self._runtime, address, transfer_policy="reject")
        self._addresses[agent.handle] = address
        agent.on_incoming(partial(self._incoming, user))
        return agent

    async def _first_registration(self, phone: Phone) -> None:
        try:
            await phone.register()
        except PhoneError:
            await phone.close()
            raise

    def _move_audio(self) -> None:
        """AUDIO THREAD. The one that moves the audio of all calls, whatever keeps the event loop busy."""
        try:
            while not self._closing.wait(PUMP_EVERY_S):
                for call in tuple(self._calls.values()):  # in one step: no other thread gets in between
                    call.pump()
        except Exception:
            log.exception("the audio of the phones failed: no phone sends or hears from here on")
            raise


def _quoted(name: str) -> str:
    if re.search(r'["\\\x00-\x1f\x7f]', name):
        raise ValueError(f"display_name must not hold quotes, backslashes or control characters, is {name!r}")
    return f'"{name}"'


async def _still(call: PhoneCall, state: CallState, after_s: float) -> bool:
    """Whether the call is in that state after a while; comes back early when it ends."""
    with contextlib.suppress(PhoneTimeout):
        await call.wait_ended(after_s)
    return call.state is state


async def _all_logged(what: str, *actions: Any) -> None:
    for outcome in await asyncio.gather(*actions, return_exceptions=True):
        if isinstance(outcome, BaseException):
            log.warning("%s: %s", what, outcome)


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    """The native stack, as plain C. Private, and the reason why the version is pinned to the letter."""
    library = ctypes.CDLL(_native.__file__)
    library.uag_call_find.argtypes, library.uag_call_find.restype = [ctypes.c_char_p], ctypes.c_void_p
    library.call_get_ua.argtypes, library.call_get_ua.restype = [ctypes.c_void_p], ctypes.c_void_p
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    library.ua_hangup.argtypes, library.ua_hangup.restype = [pointer, pointer, ctypes.c_uint16, text], None
    return library


def _reject(call_id: bytes, code: int) -> None:
    """SIP THREAD. A call that is gone already is no harm."""
    call = _library().uag_call_find(call_id)
    if call:
        reason = b"Decline" if code == 603 else b"Rejected"
        _library().ua_hangup(_library().call_get_ua(call), call, code, reason)
