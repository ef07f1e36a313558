"""Rebuilding the present from the rows that were open when the former daemon died.

Promises: the order of the rows does not matter; what can't be placed (a row of an agent or a queue that is no
longer configured, an entry without its call) is closed, never kept alive. The journal and the switch are asked
afterwards: this only says what was believed last.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from ccsvc.domain.floor import turn_page
from ccsvc.domain.lines import number_of, stand
from ccsvc.domain.recording import CLOSE_LIMIT_S
from ccsvc.domain.records import (
    AgentSessionRow,
    AgentStateRow,
    CallRow,
    CdrRow,
    IvrStepRow,
    OfferRow,
    QueueEntryRow,
    QueueRefusalRow,
    RecordingRow,
    Row,
    SegmentRow,
    SupervisionRow,
    key_of,
)
from ccsvc.domain.world import Agent, Call, Channel, Entry, Leg, Talk, World, seconds


def restore(world: World, rows: Sequence[Row], at: datetime | None = None) -> None:
    """Fill an empty world. Emits timers and the closing of what can't go on, by the clock that stands at `at`."""
    instants = [_latest(row) for row in rows]
    world.now = max(instants if at is None else [*instants, at], default=world.now)
    for row in sorted(rows, key=_turn):
        _take(world, row)
    _watch_legs(world, rows)
    for agent in world.agents.values():
        _settle(world, agent)
    world.freed.clear()


ORDER: tuple[type[Row], ...] = (
    CallRow,
    QueueEntryRow,
    AgentSessionRow,
    AgentStateRow,
    OfferRow,
    SegmentRow,
    QueueRefusalRow,
    IvrStepRow,
    RecordingRow,
    SupervisionRow,
)
"""A call before what happened in it, an agent's seat before what they did there."""


def _turn(row: Row) -> tuple[int, datetime, str]:
    """By kind, then in the order in which things began."""
    kind = ORDER.index(type(row)) if type(row) in ORDER else len(ORDER)
    began_at = next(at for name in _BEGINNINGS if isinstance(at := getattr(row, name, None), datetime))
    return kind, began_at, str(key_of(row))


def _take(world: World, row: Row) -> None:
    match row:
        case CallRow():
            _call(world, row)
        case QueueEntryRow():
            _entry(world, row)
        case AgentSessionRow():
            _session(world, row)
        case AgentStateRow():
            _state(world, row)
        case OfferRow():
            _offer(world, row)
        case SegmentRow():
            _segment(world, row)
        case RecordingRow():
            _recording(world, row)
        case SupervisionRow():
            _supervision(world, row)
        case QueueRefusalRow() | IvrStepRow():
            _past(world, row)
        case _:
            pass


def _latest(row: Row) -> datetime:
    found = (getattr(row, name, None) for name in _INSTANTS)
    return max(at for at in found if isinstance(at, datetime))


_BEGINNINGS = ("started_at", "entered_at", "offered_at", "at", "calldate")
_INSTANTS = (*_BEGINNINGS, "ended_at", "left_at", "wrap_up_ended_at")


def _past(world: World, row: QueueRefusalRow | IvrStepRow) -> None:
    call = world.calls.get(row.call_id)
    if call is None:
        return
    if isinstance(row, IvrStepRow):
        call.steps = max(call.steps, row.n)
    else:
        call.refused = True


def _call(world: World, row: CallRow) -> None:
    if row.ended_at is not None:
        return
    call = Call(row, row.channel, language=row.language, did=row.did)
    if row.ivr_path:
        call.ivr, _, call.node = row.ivr_path[-1].partition(".")
    call.legs[row.channel] = Leg(row.channel, "", "customer", row.started_at)
    world.calls[call.id] = call
    world.by_channel[call.channel] = call
    world.channels[call.channel] = Channel(call.channel, "", None, started_at=row.started_at)


def _entry(world: World, row: QueueEntryRow) -> None:
    call = world.calls.get(row.call_id)
    if row.exit is None and call is not None and call.entry is None and row.queue in world.lines:
        stand(world, Entry(row, call))
        return
    if row.exit is None:
        wait_s = seconds(row.entered_at, world.now)
        left_at = max(world.now, row.entered_at)
        row = replace(
            row, exit="withdrawn", left_at=left_at, wait_s=wait_s, in_target=False, short=False, repaired=True
        )
        world.write(row)
    if call is not None:
        call.entries.append(row)
        call.entry_count = max(call.entry_count, number_of(row))


def _offer(world: World, row: OfferRow) -> None:
    call = world.calls.get(row.call_id)
    agent = world.agents.get(row.agent_id)
    entry = call.entry if call is not None and call.entry is not None and call.entry.id == row.entry_id else None
    if entry is not None:
        entry.offers = max(entry.offers, int(row.offer_id.rpartition("o")[2]))
    if row.result is not None:
        if entry is not None and row.ended_at is not None:
            entry.tried[row.agent_id] = row.ended_at
        return
    if entry is None or entry.offer is not None or agent is None or agent.offered is not None:
        world.write(replace(row, result="agent_dropped", ended_at=max(world.now, row.offered_at), repaired=True))
        return
    entry.offer, entry.call.phase = row, "ringing"
    agent.activity, agent.call, agent.offered = "ringing", entry.call.id, entry


def _segment(world: World, row: SegmentRow) -> None:
    call, agent = world.calls.get(row.call_id), world.agents.get(row.agent_id)
    if call is not None:
        customer = call.legs[call.channel]
        customer.bridged_at, customer.dial_result = customer.bridged_at or row.started_at, "ANSWERED"
    if row.ended_at is None and call is not None:
        _talk(world, call, row, agent)
        return
    if row.wrap_up_s is None:
        row = _wrap_up(world, row, agent)
    if call is not None:
        call.segments.append(row)


def _talk(world: World, call: Call, row: SegmentRow, agent: Agent | None) -> None:
    call.talks[row.channel] = Talk(row)
    call.phase = "talking"
    if agent is not None:
        _close_wrap_up(world, agent)
        agent.activity, agent.call = "talking", call.id


def _wrap_up(world: World, row: SegmentRow, agent: Agent | None) -> SegmentRow:
    """After-call work goes on for what is left of it; without its agent or queue it is over."""
    ended_at = row.ended_at or max(world.now, row.started_at)
    talk_s = row.talk_s if row.talk_s is not None else seconds(row.started_at, ended_at)
    row = replace(row, ended_at=ended_at, talk_s=talk_s, hold_s=row.hold_s or 0.0)
    if agent is None or agent.activity == "talking" or row.queue not in world.queues:
        world.write(replace(row, wrap_up_ended_at=ended_at, wrap_up_s=0.0))
        return row
    _close_wrap_up(world, agent)
    agent.activity, agent.wrapping, agent.call = "wrap_up", row, None
    world.timer("wrap_up", row.segment_id, world.queues[row.queue].wrap_up_s - seconds(ended_at, world.now))
    return row


def _watch_legs(world: World, rows: Sequence[Row]) -> None:
    """Legs whose CDR is written are gone, whatever the journal repeats of them.

    Of the others, one that the switch no longer carries gets its CDR at the first look.
    """
    told = {row.uniqueid for row in rows if isinstance(row, CdrRow)}
    for channel in told:
        world.bury(channel, "told")
    rung_at = {row.entry_id: row.offered_at for row in rows if isinstance(row, OfferRow) and row.result == "accepted"}
    for call in world.calls.values():
        for row in (*call.segments, *(talk.row for talk in call.talks.values())):
            if row.channel not in told:
                at = rung_at.get(row.entry_id, row.started_at) if row.entry_id is not None else row.started_at
                _watch_leg(world, call, row, at)


def _watch_leg(world: World, call: Call, row: SegmentRow, at: datetime) -> None:
    world.by_channel[row.channel] = call
    world.channels[row.channel] = Channel(row.channel, "", row.device, started_at=at)
    call.legs[row.channel] = Leg(row.channel, "", "agent", at, row.device, row.started_at, "ANSWERED")


def _close_wrap_up(world: World, agent: Agent) -> None:
    """An agent works on one call at a time: what came before is over."""
    if agent.wrapping is not None:
        world.write(replace(agent.wrapping, wrap_up_ended_at=agent.wrapping.ended_at, wrap_up_s=0.0))
        agent.wrapping = None


def _session(world: World, row: AgentSessionRow) -> None:
    agent = world.agents.get(row.agent_id)
    if row.ended_at is not None:
        return
    if agent is None or row.device in world.seats or agent.session_row is not None:
        world.write(replace(row, ended_at=max(world.now, row.started_at), end_reason="removed"))
        return
    agent.session_row, agent.device, agent.status = row, row.device, "ready"
    agent.since = agent.idle_since = row.started_at
    world.seats[row.device] = agent.id


def _state(world: World, row: AgentStateRow) -> None:
    agent = world.agents.get(row.agent_id)
    if row.ended_at is not None:
        return
    if agent is None or agent.state_row is not None:
        world.write(replace(row, ended_at=max(world.now, row.started_at)))
        return
    agent.state_row, agent.pages, agent.reason = row, row.seq + 1, row.reason
    agent.status = row.status if agent.session_row is not None else "logged_out"
    agent.since = agent.idle_since = row.started_at


def _settle(world: World, agent: Agent) -> None:
    """The open stretch of an agent's day must say what they do now; a torn end of the memory may say otherwise."""
    row = agent.state_row
    believed = (row.status, row.activity) if row is not None else ("logged_out", "idle")
    if believed != (agent.status, agent.activity):
        turn_page(world, agent)


def _recording(world: World, row: RecordingRow) -> None:
    call = world.calls.get(row.call_id)
    if call is not None:
        call.recording = row
    if row.verdict is not None:
        return
    world.recordings[row.recording_id] = row
    if call is not None:
        world.recorded_channels[call.channel] = row.recording_id
    else:
        world.timer("measure", row.recording_id, CLOSE_LIMIT_S)


def _supervision(world: World, row: SupervisionRow) -> None:
    """The supervisor's own session did not survive: the listening may have, but nobody can say."""
    if row.ended_at is None:
        world.write(replace(row, ended_at=max(world.now, row.started_at)))
