"""The machine under a simulated centre: the events' way, sessions, the switch, and the daemon that dies and returns.

See `centre_driver`, which is what tests use.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import count

from ccsvc.domain import commands as cmd
from ccsvc.domain import events as ev
from ccsvc.domain.centre import Centre
from ccsvc.domain.ids import ChannelId, DeviceName, SessionId
from ccsvc.domain.memory import OpenRows
from ccsvc.domain.records import CdrRow, Row, is_open, key_of
from ccsvc.domain.stats import StatsState, observe
from ccsvc.domain.vocabulary import DeviceState
from ccsvc.settings import Settings
from tests.unit.centre_parts import STATUSES, T0, Caller, Dial, Phone, Ring, Script, Session, settings

JOURNALLED = (ev.ChannelStarted, ev.BridgeEntered, ev.BridgeLeft, ev.HangupRequested, ev.ChannelEnded)
RETRY_S = 0.25
"""How long the dialplan waits before it looks for the daemon again."""


class Machine:
    def __init__(self, config: Settings | None = None, *, ami_lag_s: float = 0.0, agi_lag_s: float = 0.0) -> None:
        self.settings = config or settings()
        self.centre = Centre(self.settings)
        self.at = T0
        self.ami_lag_s, self.agi_lag_s = ami_lag_s, agi_lag_s
        self.pin_check_s, self.prompt_s = 0.0, 0.0
        self.pins = {"1": "1234", "2": "1234", "3": "1234", "4": "1234", "77": "7777"}
        self.phones = {DeviceName(d.name): Phone(DeviceName(d.name)) for d in self.settings.device}
        self.callers: list[Caller] = []
        self.sessions: dict[SessionId, Session] = {}
        self.tape: list[ev.Event] = []
        self.journal: list[ev.Event] = []
        self.died_at = T0
        self.commands: list[cmd.Command] = []
        self.rows: list[Row] = []
        self.memory = OpenRows()
        self.stats = StatsState()
        self.measures: dict[str, float | None] = {}
        self.state_cleared_by_dialplan = True
        self.cdrs_may_repeat = False
        self.kill_after: int | None = None
        self.kill_loses_commands = False
        self.down_s = 0.0
        self.journal_overlap_s = 0.0
        self.dead, self.deaf = False, False
        """Killed, or alive and told nothing."""
        self.check: Callable[[Sequence[cmd.Command]], None] = lambda commands: None
        """Called with the commands of every event, when they have been carried out."""
        self._final: dict[tuple[object, ...], Row] = {}
        self._closed: set[tuple[object, ...]] = set()
        self._inbox: deque[ev.Event] = deque()
        self._agenda: list[tuple[datetime, int, bool, Callable[[], None]]] = []
        self._numbers = count(1)

    def hang_up(self, caller: Caller) -> None:
        """The customer hangs up, wherever they are."""
        if not caller.alive:
            return
        self.tell(ev.HangupRequested(self.at, caller.channel))
        self._customer_leaves(caller)
        self._drain()

    def transfer_blind(self, caller: Caller, did: str) -> None:
        """The agent who talks sends the customer to another number."""
        dial = caller.dial
        assert dial is not None
        assert dial.up
        self._unbridge(caller, first=caller)
        caller.variables |= {"BLINDTRANSFER": f"PJSIP/{dial.phone.device}-{dial.leg}", "DIALSTATUS": "ANSWER"}
        self._leg_gone(dial)
        if caller.session is not None:
            self._dial_over(caller, 0, "ANSWER")
        caller.dial, caller.did = None, did
        caller.variables["DIALSTATUS"] = ""
        if self.state_cleared_by_dialplan:
            caller.variables["CCSVC_STATE"] = ""
        self._session_gone(caller)
        self._open_session(caller)
        self._drain()

    def live(self) -> tuple[ev.LiveChannel, ...]:
        return tuple(self._live())

    def device_states(self) -> tuple[tuple[DeviceName, DeviceState], ...]:
        return tuple((phone.device, phone.state) for phone in self.phones.values())

    # -- the way of an event --------------------------------------------------------------------------------------

    def post(self, event: ev.Event) -> None:
        self._inbox.append(event)
        self._drain()

    def tell(self, event: ev.Event) -> None:
        """The manager tells, and the switch writes down what belongs into its journal."""
        if isinstance(event, JOURNALLED):
            self.journal.append(event)
        if not self.deaf:
            self._deliver(event, self.ami_lag_s)

    def answer(self, event: ev.Event) -> None:
        """A session tells."""
        if not self.deaf:
            self._deliver(event, self.agi_lag_s)

    def _deliver(self, event: ev.Event, lag_s: float) -> None:
        if lag_s:
            self._later(lag_s, lambda: self._inbox.append(event), timer=True)
        else:
            self._inbox.append(event)

    def _drain(self) -> None:
        while self._inbox:
            event = self._inbox.popleft()
            if self.dead:
                continue
            self.tape.append(event)
            commands = self.centre.handle(event)
            killed = self.kill_after is not None and len(self.tape) == self.kill_after
            self._carry_out(commands, only_rows=killed and self.kill_loses_commands)
            if killed:
                self.die()
                self._later(self.down_s, self.restart)
            self.check(commands)

    def _carry_out(self, commands: Sequence[cmd.Command], *, only_rows: bool = False) -> None:
        self.commands += commands
        for command in commands:
            if isinstance(command, cmd.Write):
                self._keep(command.row)
        for command in () if only_rows else commands:
            self._act(command)

    def _keep(self, row: Row) -> None:
        key = key_of(row)
        again = key in self._closed and not (self.cdrs_may_repeat and isinstance(row, CdrRow))
        assert not again, f"written again after it was closed: {row}"
        if not (is_open(row) and key in self._final):
            observe(self.stats, row)
        if not is_open(row):
            self._closed.add(key)
        self._final[key] = row
        self.rows.append(row)
        self.memory.add(row)

    def _act(self, command: cmd.Command) -> None:
        match command:
            case cmd.StartTimer(timer, after_s):
                assert after_s >= 0
                self._later(after_s, lambda: self._inbox.append(ev.TimerFired(self.at, timer)), timer=True)
            case cmd.CheckPin(session, token, _, person, pin):
                ok = self.pins.get(person) == pin
                self._later(
                    self.pin_check_s,
                    lambda: self._inbox.append(ev.PinChecked(self.at, session, token, ok)),
                    timer=True,
                )
            case cmd.MeasureRecording(recording_id, path):
                seconds = self.measures.get(path, 3600.0)
                found = ev.RecordingMeasured(self.at, recording_id, seconds, None if seconds is None else 16)
                self._later(0.0, lambda: self._inbox.append(found), timer=True)
            case cmd.Write() | cmd.Report() | cmd.SetSafetyNet() | cmd.HangUp():
                pass
            case _:
                self._submit(command)

    def _later(self, seconds: float, act: Callable[[], None], *, timer: bool = False) -> None:
        heapq.heappush(self._agenda, (self.at + timedelta(seconds=seconds), next(self._numbers), timer, act))

    # -- sessions -------------------------------------------------------------------------------------------------

    def _open_session(self, caller: Caller) -> None:
        if self.dead:
            self._later(RETRY_S, lambda: self._return(caller))
            return
        session = caller.session = Session(SessionId(next(self._numbers)), caller)
        self.sessions[session.id] = session
        seen = caller.variables
        self.answer(
            ev.CallArrived(
                at=self.at,
                session=session.id,
                channel=caller.channel,
                linkedid=caller.channel,
                channel_name=caller.name,
                did=caller.did,
                caller="0912",
                caller_name="",
                resume=seen.get("CCSVC_STATE", ""),
                dial_status=seen.get("DIALSTATUS", ""),
                transferred_by=seen.get("BLINDTRANSFER", ""),
            )
        )

    def _return(self, caller: Caller) -> None:
        """What the dialplan does when a session ended without CCSVC_DONE."""
        if not caller.alive or caller.session is not None or caller.dial is not None or caller.in_safety_net:
            return
        if caller.variables.get("DIALSTATUS") == "ANSWER":
            self._customer_leaves(caller)
        else:
            self._open_session(caller)

    def _submit(self, command: cmd.Command) -> None:
        session = self.sessions.get(getattr(command, "session", SessionId(0)))
        if session is not None and session.open:
            session.mailbox.append(command)
            self._pump(session)

    def _pump(self, session: Session) -> None:
        while session.open and not session.busy and session.mailbox:
            self._do(session, session.mailbox.popleft())

    def _do(self, session: Session, command: cmd.Command) -> None:
        match command:
            case cmd.Ask():
                self._ask(session, command)
            case cmd.RideAlong(variables=variables) if session.caller is not None:
                session.caller.variables |= dict(variables)
            case cmd.RecordCall(path=path) if session.caller is not None:
                session.caller.recorded = path
            case cmd.DialAgent() if session.caller is not None:
                session.busy = True
                self._dial(session.caller, command)
            case cmd.Spy(token=token):
                session.busy, session.spying = True, token
            case cmd.FinishSession():
                self._finish(session)

    def _ask(self, session: Session, ask: cmd.Ask) -> None:
        keys = session.caller.keys if session.caller is not None else session.digits
        pressed = keys.popleft() if ask.max_digits and keys else ""
        session.busy, session.pressed = True, pressed
        waited_s = self.prompt_s + (ask.timeout_s if ask.max_digits and not pressed else 0.0)
        self._later(waited_s, lambda: self._asked(session, ask, pressed))

    def _asked(self, session: Session, ask: cmd.Ask, pressed: str) -> None:
        if session.open:
            session.busy, session.pressed = False, ""
            self.answer(ev.Answered(self.at, session.id, ask.token, pressed))
            self._pump(session)

    def stop_spying(self, session: Session) -> None:
        assert session.spying is not None
        self.answer(ev.SpyFinished(self.at, session.id, session.spying))
        session.busy = False
        self._pump(session)
        self._drain()

    def _finish(self, session: Session) -> None:
        if session.caller is not None:
            self._customer_leaves(session.caller)
        else:
            self._end_session(session)

    def _end_session(self, session: Session) -> None:
        if not session.open:
            return
        session.open = False
        self.answer(ev.SessionEnded(self.at, session.id))
        if session.phone is not None:
            self._device(session.phone, "idle")

    def _session_gone(self, caller: Caller) -> None:
        if caller.session is not None:
            self._end_session(caller.session)
            caller.session = None

    # -- the switch -----------------------------------------------------------------------------------------------

    def _device(self, phone: Phone, state: DeviceState) -> None:
        phone.state = state
        self.tell(ev.DeviceStateChanged(self.at, phone.device, state))

    def _dial(self, caller: Caller, command: cmd.DialAgent) -> None:
        phone = self.phones[command.device]
        ring = phone.rings.popleft() if phone.rings else phone.usually
        assert caller.dial is None, "two phones ring for one caller"
        dial = caller.dial = Dial(command, phone, ChannelId(f"19.{next(self._numbers)}"))
        if ring.does == "unreachable":
            dial.seen = False
            self._later(0.0, lambda: self._ring_ends(caller, dial, ring, "unreachable"))
            return
        name = f"PJSIP/{phone.device}-{dial.leg}"
        self.tell(ev.ChannelStarted(self.at, dial.leg, caller.channel, name, phone.device))
        self.tell(ev.LegDialled(self.at, caller.channel, dial.leg, name, phone.device))
        self._device(phone, "ringing")
        rings_s = command.ring_s if ring.does == "no_answer" else min(ring.after_s, command.ring_s)
        does = ring.does if ring.after_s < command.ring_s else "no_answer"
        self._later(rings_s, lambda: self._ring_ends(caller, dial, ring, does))

    def _ring_ends(self, caller: Caller, dial: Dial, ring: Ring, does: Script) -> None:
        if caller.dial is not dial:
            return
        status = STATUSES[does]
        if dial.seen:
            self.tell(ev.LegDialEnded(self.at, dial.leg, status))
        if does == "answer":
            self._bridge(caller, dial, ring)
        else:
            self._leg_gone(dial)
            self._dial_over(caller, 0, status)

    def _bridge(self, caller: Caller, dial: Dial, ring: Ring) -> None:
        self._device(dial.phone, "in_use")
        dial.up, dial.bridge = True, f"b{dial.leg}"
        caller.bridge = dial.bridge
        self.tell(ev.BridgeEntered(self.at, dial.leg, caller.channel, dial.bridge))
        self.tell(ev.BridgeEntered(self.at, caller.channel, caller.channel, dial.bridge))
        if ring.hold is not None:
            self._later(ring.hold[0], lambda: self.tell(ev.HoldStarted(self.at, dial.leg)))
            self._later(ring.hold[1], lambda: self.tell(ev.HoldEnded(self.at, dial.leg)))
        self._later(ring.talk_s, lambda: self._talk_ends(caller, dial, ring))

    def _talk_ends(self, caller: Caller, dial: Dial, ring: Ring) -> None:
        if caller.dial is not dial:
            return
        if ring.transfer_to:
            self.transfer_blind(caller, ring.transfer_to)
        elif ring.hung_up_by == "customer":
            self.hang_up(caller)
        else:
            self.tell(ev.HangupRequested(self.at, dial.leg))
            self._agent_leaves(caller, dial)

    def _agent_leaves(self, caller: Caller, dial: Dial) -> None:
        self.tell(ev.BridgeLeft(self.at, dial.leg, dial.bridge))
        self._leg_gone(dial)
        self.tell(ev.BridgeLeft(self.at, caller.channel, caller.bridge))
        caller.bridge = ""
        self._dial_over(caller, 0, "ANSWER")

    def _unbridge(self, caller: Caller, *, first: Caller) -> None:
        dial = caller.dial
        assert dial is not None
        for channel in (first.channel, dial.leg):
            self.tell(ev.BridgeLeft(self.at, channel, dial.bridge))
        caller.bridge, dial.bridge = "", ""

    def _leg_gone(self, dial: Dial) -> None:
        dial.up, dial.bridge = False, ""
        if dial.seen:
            self.tell(ev.ChannelEnded(self.at, dial.leg, dial.leg, 16))
            self._device(dial.phone, "idle")

    def _dial_over(self, caller: Caller, result: int, status: ev.DialStatus) -> None:
        """`EXEC Dial` comes back; without a daemon that reads it, the dialplan goes on."""
        dial, session = caller.dial, caller.session
        assert dial is not None
        caller.dial = None
        if result >= 0:
            caller.variables["DIALSTATUS"] = status
        if session is None or not session.open:
            self._return(caller)
            return
        session.busy = False
        by = caller.variables.get("BLINDTRANSFER", "") if result >= 0 else ""
        self.answer(ev.DialFinished(self.at, session.id, dial.command.offer, result, status, by))
        self._pump(session)

    def _customer_leaves(self, caller: Caller) -> None:
        """The customer's channel goes, and with it what it dialled."""
        dial = caller.dial
        if dial is not None and dial.up:
            self._unbridge(caller, first=caller)
            self._leg_gone(dial)
        elif dial is not None and dial.seen:
            self.tell(ev.LegDialEnded(self.at, dial.leg, "CANCEL"))
            self._leg_gone(dial)
        caller.alive = False
        if dial is not None and caller.session is not None:
            self._dial_over(caller, -1, "CANCEL")
        caller.dial = None
        self._session_gone(caller)
        if caller.recorded:
            self.tell(ev.RecordingStopped(self.at, caller.channel))
        self.tell(ev.ChannelEnded(self.at, caller.channel, caller.channel, 16))

    def _live(self) -> Iterator[ev.LiveChannel]:
        for caller in self.callers:
            if not caller.alive:
                continue
            dial = caller.dial
            application = "Queue" if caller.in_safety_net else "AGI" if dial is None else "Dial"
            yield ev.LiveChannel(caller.channel, caller.channel, caller.name, None, caller.bridge, application)
            if dial is not None and dial.seen:
                name = f"PJSIP/{dial.phone.device}-{dial.leg}"
                yield ev.LiveChannel(dial.leg, caller.channel, name, dial.phone.device, dial.bridge, "AppDial")

    # -- the daemon's death -----------------------------------------------------------------------------------------

    def die(self) -> None:
        """The daemon is killed: its timers, sessions and unread news are gone; what the switch tells is not heard."""
        self.dead, self.kill_after, self.died_at = True, None, self.at
        self._inbox.clear()
        self._agenda = [item for item in self._agenda if not item[2]]
        heapq.heapify(self._agenda)
        for session in self.sessions.values():
            if session.open and session.phone is not None:
                session.phone.state = "idle"
            if session.open and session.pressed and session.caller is not None:
                session.caller.keys.appendleft(session.pressed)
            session.open = False
        for caller in self.callers:
            caller.session = None

    def restart(self, rows: Sequence[Row] | None = None) -> None:
        """A new daemon, which remembers what the former one wrote, or the rows given, and looks at the switch."""
        if not self.dead:
            self.die()
        if rows is not None:
            self._forget_all_but(rows)
        self.dead, self.centre = False, Centre(self.settings)
        restored = self.centre.restore(self.memory.rows(), self.at)
        self._carry_out(restored)
        self.check(restored)
        self._replay_journal()
        look = ev.SwitchSeen(self.at + timedelta(microseconds=1), self.live(), self.device_states(), fresh=True)
        self._inbox.append(look)
        for caller in self.callers:
            if caller.dial is None:
                self._return(caller)

    def _replay_journal(self) -> None:
        """What the switch wrote down lately is told again; the core may only remember, not act."""
        since = self.died_at - timedelta(seconds=self.journal_overlap_s)
        journal = [event for event in self.journal if event.at >= since]
        for event in journal if self.journal_overlap_s else ():
            told = self.centre.handle(event)
            kept = [command for command in told if isinstance(command, cmd.Write | cmd.Report | cmd.StartTimer)]
            self._carry_out(kept)
            self.check(kept)

    def _forget_all_but(self, rows: Sequence[Row]) -> None:
        self.memory = OpenRows(rows)
        self._final = {key_of(row): row for row in rows}
        self._closed = {key_of(row) for row in rows if not is_open(row)}
