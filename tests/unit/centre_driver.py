"""A switch and its callers, agents and phones in memory, around a real `Centre`: time is a number, nothing waits.

Promises: what the core asks for is carried out as Asterisk and the shell would do it, in the order that was seen on
a real one (what the manager tells of legs, bridges and ends; what a session tells of its Dial); timers fire in the
order of time; rows are folded as the daemon folds them, and a row that is written again after it was closed is a
failure. `ami_lag_s` and `agi_lag_s` deliver one stream later than the other, with the true instants in it.
"""

import heapq
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from ccsvc.domain import commands as cmd
from ccsvc.domain import events as ev
from ccsvc.domain.ids import AgentId, ChannelId, DeviceName, SessionId
from ccsvc.domain.records import AgentStateRow, CallRow, OfferRow, QueueEntryRow
from ccsvc.domain.view import AgentView, CentreView, QueueView
from ccsvc.domain.vocabulary import AgentStatus, DeviceState
from ccsvc.settings import QueueSettings, Settings
from tests.unit.centre_machine import RETRY_S, Machine
from tests.unit.centre_parts import Caller, Phone, Ring, Session, settings

R = TypeVar("R")


class Simulation(Machine):
    def __init__(self, config: Settings | None = None, *, ami_lag_s: float = 0.0, agi_lag_s: float = 0.0) -> None:
        super().__init__(config, ami_lag_s=ami_lag_s, agi_lag_s=agi_lag_s)
        self.see_switch(fresh=True)

    # -- what tests do ------------------------------------------------------------------------------------------

    def call(self, did: str = "100", keys: str = "", *, patience_s: float | None = None) -> Caller:
        """A customer calls a number; `keys` are pressed one at each question, `-` for none."""
        caller = Caller(ChannelId(f"17.{len(self.callers) + 1}"), did, deque("" if k == "-" else k for k in keys))
        self.callers.append(caller)
        self.tell(ev.ChannelStarted(self.at, caller.channel, caller.channel, caller.name, None))
        self._open_session(caller)
        if patience_s is not None:
            self._later(patience_s, lambda: self.hang_up(caller))
        self._drain()
        return caller

    def log_in(self, *people: tuple[str, str]) -> None:
        """Agents log in, one after the other: (number, device)."""
        for number, device in people:
            self.feature(device, "login", digits=(number, "1234"))
            self.run(0.001)

    def feature(self, device: str, verb: ev.FeatureVerb, argument: str = "", digits: tuple[str, ...] = ()) -> Session:
        """Dial a feature code; the phone is in use until the session is over."""
        phone = self.phones[DeviceName(device)]
        session = Session(SessionId(next(self._numbers)), phone=phone, digits=deque(digits))
        self.sessions[session.id] = session
        self._device(phone, "in_use")
        channel = ChannelId(f"18.{session.id}")
        self.answer(ev.FeatureDialled(self.at, session.id, channel, phone.device, verb, argument))
        self._drain()
        return session

    def leave_desk(self, session: Session) -> None:
        """Somebody at a phone hangs up on the feature code."""
        self._end_session(session)
        self._drain()

    def force(self, agent: str, status: AgentStatus, reason: str = "") -> None:
        self.post(ev.AgentForced(self.at, AgentId(agent), status, reason))

    def phone(self, device: str) -> Phone:
        return self.phones[DeviceName(device)]

    def set_device(self, device: str, state: DeviceState) -> None:
        self._device(self.phones[DeviceName(device)], state)
        self._drain()

    def break_session(self, caller: Caller) -> None:
        """The session's socket dies while the caller waits; the dialplan comes back for them."""
        assert caller.session is not None
        self.answer(ev.SessionBroke(self.at, caller.session.id, "agi_timeout"))
        self._session_gone(caller)
        self._later(RETRY_S, lambda: self._return(caller))
        self._drain()

    def lose_switch(self) -> None:
        self.post(ev.SwitchLost(self.at, "cut"))

    def see_switch(self, *, fresh: bool = False, booted_at: datetime | None = None) -> None:
        self.post(ev.SwitchSeen(self.at, self.live(), self.device_states(), fresh, booted_at))

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        """Arrange that something is done after so many seconds, whatever happens to the daemon until then."""
        self._later(seconds, lambda: (act(), None)[1])

    def come_back(self, caller: Caller) -> None:
        """The dialplan finds a daemon again for this caller."""
        self._return(caller)
        self._drain()

    @property
    def busy(self) -> bool:
        """Something is still to come."""
        return bool(self._agenda)

    def step(self) -> None:
        """Let time pass until the next thing has happened."""
        self.run((self._agenda[0][0] - self.at) / timedelta(seconds=1))

    def run(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self._drain()
        end = self.at + timedelta(seconds=seconds)
        while self._agenda and self._agenda[0][0] <= end:
            at, _, _, act = heapq.heappop(self._agenda)
            self.at = max(self.at, at)
            act()
            self._drain()
        self.at = end

    def run_out(self, limit_s: float = 100_000.0) -> None:
        """Let time pass until nothing is to come any more."""
        end = self.at + timedelta(seconds=limit_s)
        while self.busy and self.at < end:
            self.step()

    # -- what tests look at -------------------------------------------------------------------------------------

    def final(self, kind: type[R]) -> list[R]:
        """The last row of each thing of this kind, in the order in which they began."""
        return [row for row in self._final.values() if isinstance(row, kind)]

    def only(self, kind: type[R]) -> R:
        (row,) = self.final(kind)
        return row

    def sent(self, kind: type[R]) -> list[R]:
        return [command for command in self.commands if isinstance(command, kind)]

    def view(self) -> CentreView:
        return self.centre.view(self.at, self.stats)

    def queue(self, name: str) -> QueueView:
        return next(queue for queue in self.view().queues if queue.name == name)

    def agent(self, number: str) -> AgentView:
        return next(agent for agent in self.view().agents if agent.agent_id == number)

    def entries(self) -> list[tuple[str, str | None, float]]:
        """(queue, exit, wait) of every stay."""
        return [(e.queue, e.exit, round(e.wait_s or 0.0, 3)) for e in self.final(QueueEntryRow)]

    def overlaps(self) -> list[AgentStateRow]:
        """Stretches of an agent's time that begin before the one before them has ended, or end before they begin."""
        found, ended_at = [], dict[AgentId, datetime]()
        for row in sorted(self.final(AgentStateRow), key=lambda row: (row.agent_id, row.started_at, row.seq)):
            end = row.ended_at or datetime.max.replace(tzinfo=UTC)
            if row.started_at < ended_at.get(row.agent_id, row.started_at) or end < row.started_at:
                found.append(row)
            ended_at[row.agent_id] = end
        return found


def desk(*people: tuple[str, str], **queue: object) -> Simulation:
    """Agents at their phones; `queue` changes the settings of both queues."""
    queues = tuple(QueueSettings(name=name, **{"wrap_up_s": 30.0, **queue}) for name in ("sales", "support"))  # type: ignore[arg-type]
    simulation = Simulation(settings(queue=queues))
    simulation.log_in(*people)
    return simulation


def offers(simulation: Simulation) -> list[tuple[str, str | None]]:
    return [(offer.agent_id, offer.result) for offer in simulation.final(OfferRow)]


def outcome(simulation: Simulation) -> tuple[str | None, str | None]:
    call = simulation.only(CallRow)
    return call.outcome, call.ended_by


def music(simulation: Simulation) -> int:
    return len(simulation.sent(cmd.PlayMusic))


def overflowing(max_wait_s: float) -> Simulation:
    """Sales overflows into support, where agent 3 answers after 25 s of waiting."""
    queues = (
        QueueSettings(name="sales", max_wait_s=max_wait_s, on_timeout="queue:support"),
        QueueSettings(name="support", ring_timeout_s=30.0),
    )
    simulation = Simulation(settings(queue=queues))
    simulation.log_in(("1", "d1"), ("3", "d3"))
    simulation.force("1", "paused")
    simulation.phone("d3").usually = Ring(after_s=25)
    return simulation
