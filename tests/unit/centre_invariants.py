"""What must be true of a centre between any two events, and after everybody has gone home."""

from collections import Counter
from collections.abc import Iterable, Sequence

from ccsvc.domain import commands as cmd
from ccsvc.domain.centre import Centre
from ccsvc.domain.floor import can_be_offered
from ccsvc.domain.ids import AgentId, OfferId, SegmentId
from ccsvc.domain.lines import MINIMUM_RETRY_S, out_of_time
from ccsvc.domain.records import AgentStateRow, OfferRow, Row, SegmentRow
from ccsvc.domain.stats import StatsState
from ccsvc.domain.world import Entry, World, seconds


def world_of(centre: Centre) -> World:
    return centre._world


class Watch:
    """Looks at every row and command as they come, and at the world after each event."""

    def __init__(self) -> None:
        self._offers: dict[OfferId, OfferRow] = {}
        self._talks: set[SegmentId] = set()
        self._states: dict[AgentId, AgentStateRow] = {}

    def see(self, centre: Centre, commands: Sequence[cmd.Command], stats: StatsState) -> None:
        """Check one event's outcome. Raises AssertionError with what is wrong."""
        for command in commands:
            if isinstance(command, cmd.Write):
                self._see_row(command.row)
        world = world_of(centre)
        _check_lines(world, stats)
        _check_agents(world)
        _check_nobody_waits_for_nothing(world)
        self._check_rows_agree(world)

    def _see_row(self, row: Row) -> None:
        match row:
            case OfferRow(result=None):
                self._see_offer(row)
            case OfferRow():
                self._offers.pop(row.offer_id, None)
            case SegmentRow(ended_at=None):
                self._talks.add(row.segment_id)
            case SegmentRow():
                self._talks.discard(row.segment_id)
            case AgentStateRow(ended_at=None):
                self._states[row.agent_id] = row
            case AgentStateRow():
                self._states.pop(row.agent_id, None)

    def _see_offer(self, row: OfferRow) -> None:
        if row.offer_id not in self._offers:
            state = self._states.get(row.agent_id)
            assert state is not None, f"offered to somebody who is not there: {row}"
            assert (state.status, state.activity) == ("ready", "idle"), f"offered to somebody who is {state}"
        self._offers[row.offer_id] = row

    def _check_rows_agree(self, world: World) -> None:
        offers = self._offers.values()
        assert _twice(row.agent_id for row in offers) == []
        assert _twice(row.entry_id for row in offers) == []
        assert set(self._offers) == {e.offer.offer_id for e in world.entries.values() if e.offer}
        assert self._talks == {t.row.segment_id for call in world.calls.values() for t in call.talks.values()}
        for agent in world.agents.values():
            state = self._states.get(agent.id)
            believed = (state.status, state.activity) if state is not None else ("logged_out", "idle")
            assert believed == (agent.status, agent.activity)


def _twice(names: Iterable[str]) -> list[str]:
    return [name for name, times in Counter(names).items() if times > 1]


def _check_lines(world: World, stats: StatsState) -> None:
    standing = [entry for line in world.lines.values() for entry in line]
    assert {entry.id for entry in standing} == set(world.entries)
    assert all(entry.call.entry is entry for entry in standing)
    assert {call.entry.id for call in world.calls.values() if call.entry is not None} == set(world.entries)
    for name, line in world.lines.items():
        assert [entry.order for entry in line] == sorted(entry.order for entry in line)
        queue = stats.queue(name)
        assert queue.entered == queue.left + len(line), f"{name}: {queue.entered} entered"


def _check_agents(world: World) -> None:
    for agent in world.agents.values():
        offered = agent.offered
        if agent.activity == "ringing":
            assert offered is not None
        if offered is not None:
            assert offered.offer is not None
            assert offered.offer.agent_id == agent.id
            assert world.entries.get(offered.id) is offered
        assert (agent.wrapping is not None) == (agent.activity == "wrap_up")
        if agent.activity == "talking":
            call = world.calls.get(agent.call) if agent.call is not None else None
            assert call is not None
            assert agent.id in {talk.row.agent_id for talk in call.talks.values()}
        assert (agent.device is None) == (agent.status == "logged_out") == (agent.session_row is None)
        assert agent.device is None or world.seats[agent.device] == agent.id


def _check_nobody_waits_for_nothing(world: World) -> None:
    for entry in world.entries.values():
        if _could_be_rung_for(world, entry):
            free = [a.id for a in world.members(entry.queue) if can_be_offered(world, a)]
            able = [agent for agent in free if not _tried_lately(world, entry, agent)]
            assert not able, f"{entry.id} waits while {able} are free"


def _could_be_rung_for(world: World, entry: Entry) -> bool:
    call = entry.call
    waits = entry.offer is None and call.session is not None and call.phase == "waiting" and call.dialling is None
    return waits and not entry.retry_armed and not out_of_time(world, entry)


def _tried_lately(world: World, entry: Entry, agent: AgentId) -> bool:
    tried_at = entry.tried.get(agent)
    pause_s = max(MINIMUM_RETRY_S, world.queues[entry.queue].retry_s)
    return tried_at is not None and seconds(tried_at, world.now) < pause_s


def has_gone_home(centre: Centre, stats: StatsState) -> None:
    """Everybody hung up and every timer fired: nothing may be left of any call."""
    world = world_of(centre)
    assert world.calls == {}
    assert world.entries == {}
    assert world.by_channel == {}
    assert world.bridges == {}
    assert world.recordings == {}
    assert world.recorded_channels == {}
    assert world.closed_files == set()
    assert {agent.activity for agent in world.agents.values()} <= {"idle"}
    assert all(queue.entered == queue.left for queue in stats.queues.values())
