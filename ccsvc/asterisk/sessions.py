"""The callers' own sessions: AGI on one side, the core's commands and events on the other.

One task per session. Commands for it wait in its mailbox (bounded) and are carried out one after the other; while
there is none the session is silent and Asterisk plays what it was told to. What comes of a command is posted.

Promises: every session that arrived ends with exactly one `SessionEnded`, whatever happens in it; on a hang-up the
socket is closed at once (else the channel would hang for ever), and nobody is told an answer of a caller who was not
there any more. A command that Asterisk refuses or can't do, a sentence that can't be played, a mailbox that runs over
and an inbox without room all end the session without CCSVC_DONE, so that the dialplan tries again and in the end
queues the caller itself.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import get_args

from structlog.stdlib import BoundLogger

from ccsvc.app.clock import Clock
from ccsvc.app.ports import Inbox
from ccsvc.asterisk.fastagi import AgiSession
from ccsvc.asterisk.modules import NO_SUCH_APPLICATION, missing_application
from ccsvc.asterisk.translate import dial_status
from ccsvc.domain import commands as cmd
from ccsvc.domain import events as ev
from ccsvc.domain.ids import ChannelId, DeviceName, SessionId
from ccsvc.errors import AgiBusy, AgiError, AgiHangup, AgiRefused, CcsvcError, ModuleMissing

MAILBOX_LIMIT = 64
SHORT_DEADLINE_S = 5.0
"""For commands that only set or read a variable."""

_SIP_ESCAPE = re.compile(r"\\(.)")
"""chan_pjsip hands on a quoted display name with its escapes (RFC 3261, quoted-pair)."""
_NUMBER = re.compile(r"-?[0-9]{1,9}")

PromptPath = Callable[[str, str], str]
"""(name, language) -> file without its ending, as Asterisk wants it. Raises `PromptMissing`."""


@dataclass(slots=True, eq=False)
class _Open:
    """A session that is served."""

    id: SessionId
    agi: AgiSession
    mailbox: asyncio.Queue[cmd.Command] = field(default_factory=lambda: asyncio.Queue(MAILBOX_LIMIT))
    fault: CcsvcError | None = None
    """Why it is to be broken off, if it is."""


class AgiSessions:
    """Implements the `Sessions` port; `handle` is what an `AgiServer` wants."""

    def __init__(
        self, *, inbox: Inbox, prompt_path: PromptPath, recordings_dir: Path, clock: Clock, log: BoundLogger
    ) -> None:
        self._inbox, self._prompt_path, self._recordings_dir = inbox, prompt_path, recordings_dir
        self._clock, self._log = clock, log
        self._open: dict[SessionId, _Open] = {}
        self._numbers = count(1)

    def submit(self, command: cmd.Command) -> None:
        """Hand a command to its session. For one that is gone it is dropped; one that is overrun is broken off."""
        session = self._open.get(getattr(command, "session", SessionId(0)))
        if session is None:
            return
        try:
            session.mailbox.put_nowait(command)
        except asyncio.QueueFull:
            session.fault = AgiBusy(type(command).__name__, f"{MAILBOX_LIMIT} earlier commands")
            session.agi.close()

    async def handle(self, agi: AgiSession) -> None:
        """Serve one session from its arrival to its end."""
        session = _Open(SessionId(next(self._numbers)), agi)
        arrival = self._arrival(session.id, agi)
        if arrival is None:
            self._log.warning("AGI request that nobody knows", path=agi.request.path, args=agi.request.args[:2])
            return
        self._open[session.id] = session
        if not self._inbox.post(arrival):
            del self._open[session.id]
            return
        try:
            await self._serve(session)
        except AgiHangup as hangup:
            self._log.debug("session hung up", session=session.id, reason=hangup.reason)
        except CcsvcError as error:
            session.fault = session.fault or error
        finally:
            agi.close()
            del self._open[session.id]
            self._end(session)

    def _end(self, session: _Open) -> None:
        fault = session.fault
        if fault is not None:
            self._log.warning("session broken off", session=session.id, code=fault.code, reason=str(fault))
            self._inbox.post(ev.SessionBroke(self._clock(), session.id, fault.code))
        self._inbox.post(ev.SessionEnded(self._clock(), session.id))

    async def _serve(self, session: _Open) -> None:
        hung_up = asyncio.create_task(session.agi.wait_hangup(), name=f"agi-session-{session.id}-hangup")
        try:
            while not hung_up.done():
                command = await _next(session, hung_up)
                if command is None:
                    return
                await self._carry_out(session.agi, command)
                if isinstance(command, cmd.FinishSession):
                    return
        finally:
            hung_up.cancel()

    def _arrival(self, session: SessionId, agi: AgiSession) -> ev.Event | None:
        request = agi.request
        args = (*request.args, "", "", "", "")
        channel, at = ChannelId(request.uniqueid), self._clock()
        if not channel:
            return None
        if request.path == "feature" and args[0] in get_args(ev.FeatureVerb):
            return ev.FeatureDialled(at, session, channel, DeviceName(args[2]), args[0], args[1])  # type: ignore[arg-type]
        if request.path != "call":
            return None
        return ev.CallArrived(
            at=at,
            session=session,
            channel=channel,
            linkedid=request.uniqueid,
            channel_name=request.channel,
            did=args[3],
            caller=_known(request.fields, "agi_callerid"),
            caller_name=_SIP_ESCAPE.sub(r"\1", _known(request.fields, "agi_calleridname")),
            resume=args[0],
            dial_status=args[1],
            transferred_by=args[2],
        )

    async def _carry_out(self, agi: AgiSession, command: cmd.Command) -> None:
        match command:
            case cmd.Ask():
                await self._ask(agi, command)
            case cmd.PlayMusic(music=music):
                await agi.command("SET MUSIC", "ON", music, deadline_s=SHORT_DEADLINE_S)
            case cmd.RideAlong(variables=variables):
                for name, value in variables:
                    await agi.command("SET VARIABLE", name, value, deadline_s=SHORT_DEADLINE_S)
            case cmd.RecordCall(path=path):
                await self._record(agi, path)
            case cmd.DialAgent():
                await self._dial(agi, command)
            case cmd.Spy(session=session, token=token, device=device):
                await _execute(agi, "ChanSpy", f"PJSIP/{device}-,q")
                self._tell(ev.SpyFinished(self._clock(), session, token))
            case cmd.FinishSession():
                await agi.command("SET VARIABLE", "CCSVC_DONE", "1", deadline_s=SHORT_DEADLINE_S)

    async def _record(self, agi: AgiSession, path: str) -> None:
        """A call that can't be recorded goes on; that its recording is missing will be found out."""
        file = re.sub(r"([\\,])", r"\\\1", str(self._recordings_dir / path))
        try:
            await _execute(agi, "MixMonitor", file, SHORT_DEADLINE_S)
        except ModuleMissing as error:
            self._log.error("call is not recorded", code=error.code, reason=str(error))

    async def _ask(self, agi: AgiSession, ask: cmd.Ask) -> None:
        files = "&".join(self._prompt_path(prompt.name, prompt.language) for prompt in ask.prompts)
        keys = ""
        if ask.max_digits:
            alone = "e" if ask.max_digits == 1 else ""  # a single # is then a key like any other
            await _execute(agi, "Read", f"CCSVC_KEYS,{files},{ask.max_digits},{alone},1,{ask.timeout_s:g}")
            keys = await _keys(agi, files)
        elif await _execute(agi, "Playback", files) < 0:
            raise AgiHangup("the caller left while something was said")
        self._tell(ev.Answered(self._clock(), ask.session, ask.token, keys))

    async def _dial(self, agi: AgiSession, dial: cmd.DialAgent) -> None:
        """Ring the device. `g`: when the agent hangs up the session goes on; `m`: till then there is music."""
        over = partial(ev.DialFinished, session=dial.session, offer=dial.offer)
        status, transferred_by = dial_status("CANCEL"), ""
        try:
            result = await _execute(agi, "Dial", f"PJSIP/{dial.device},{max(1, round(dial.ring_s))},gm({dial.music})")
            if result >= 0:
                status = dial_status(await _variable(agi, "DIALSTATUS"), await _variable(agi, "HANGUPCAUSE"))
                transferred_by = await _variable(agi, "BLINDTRANSFER")
        except BaseException:
            self._inbox.post(over(self._clock(), result=-1, status="CANCEL"))
            raise
        self._tell(over(self._clock(), result=result, status=status, transferred_by=transferred_by))

    def _tell(self, event: ev.Event) -> None:
        """Post what the core waits for. If it can't be told, nothing would ever follow: the session is over."""
        if not self._inbox.post(event):
            raise AgiError(f"{type(event).__name__} could not be told: the daemon is overrun")


async def _execute(agi: AgiSession, application: str, arguments: str, deadline_s: float | None = None) -> int:
    """Run an application; its result. Raises `AgiError`, `ModuleMissing`."""
    reply = await agi.command("EXEC", application, arguments, deadline_s=deadline_s)
    result = int(reply.result) if _NUMBER.fullmatch(reply.result) else -1
    if result == NO_SUCH_APPLICATION:
        raise missing_application(application)
    return result


async def _keys(agi: AgiSession, files: str) -> str:
    """What `Read` got. It answers 0 to a caller who hung up and to a file that is not there as well."""
    reply = await agi.command("GET FULL VARIABLE", "${READSTATUS}:${CCSVC_KEYS}", deadline_s=SHORT_DEADLINE_S)
    status, _, keys = (reply.data or "").partition(":")
    if status == "HANGUP":
        raise AgiHangup("the caller left while asked")
    if status == "ERROR":
        raise AgiRefused("EXEC Read", reply.code, f"but it can't play one of {files}")
    return "".join(key for key in keys if key in "0123456789*#")


async def _variable(agi: AgiSession, name: str) -> str:
    reply = await agi.command("GET VARIABLE", name, deadline_s=SHORT_DEADLINE_S)
    return reply.data or ""


async def _next(session: _Open, hung_up: "asyncio.Task[None]") -> cmd.Command | None:
    """The next command, or None when the caller is gone first."""
    if not session.mailbox.empty():
        return session.mailbox.get_nowait()
    coming = asyncio.create_task(session.mailbox.get(), name=f"agi-session-{session.id}-next")
    waiting: set[asyncio.Task[cmd.Command] | asyncio.Task[None]] = {coming, hung_up}
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        coming.cancel()
    return coming.result() if coming.done() and not coming.cancelled() else None


def _known(fields: Mapping[str, str], name: str) -> str:
    """A caller's number or name; Asterisk says `unknown` for none."""
    value = fields.get(name, "")
    return "" if value == "unknown" else value
