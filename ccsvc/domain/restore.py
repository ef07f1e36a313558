"""Rebuilding the present from the rows that were open when the former daemon died.

Promises: the order of the rows does not matter; what can't be placed (a row of an agent or a queue that is no
longer configured, an entry without its call) is closed, never kept alive. The journal and the switch are asked
afterwards: this only says what was believed last.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from ccsvc.domain.records import (
    AgentSessionRow,
    AgentStateRow,
    CallRow,
    IvrStepRow,
    OfferRow,
    QueueEntryRow,
    QueueRefusalRow,
    RecordingRow,
    Row,
    SegmentRow,
    SupervisionRow,
)
from ccsvc.domain.world import Agent, Call, Channel, Entry, Leg, Talk, World, seconds


def restore(world: World, rows: Sequence[Row]) -> None:
    """Fill an empty world. Emits timers and the closing of what can't go on."""
    world.now = max((_latest(row) for row in rows), default=world.now)
    for row in sorted(rows, key=_turn):
        _take(world, row)


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


def _turn(row: Row) -> int:
    return ORDER.index(type(row)) if type(row) in ORDER else len(ORDER)


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


_INSTANTS = ("started_at", "entered_at", "offered_at", "at", "calldate", "ended_at", "left_at", "wrap_up_ended_at")


def _past(world: World, row: QueueRefusalRow | IvrStepRow) -> None:
    call = world.calls.get(row.call_id)
    if call is None:
        return
    if isinstance(row, IvrStepRow):
        call.steps = max(call.steps, row.n)
    else:
        call.refused = True


def _call(world: World, row: CallRow) -> None:
    call = Call(row, row.channel, language=row.language)
    if row.ivr_path:
        call.ivr, _, call.node = row.ivr_path[-1].partition(".")
    call.legs[row.channel] = Leg(row.channel, "", "customer", row.started_at)
    world.calls[call.id] = call
    world.by_channel[call.channel] = call
    world.channels[call.channel] = Channel(call.channel, "", None, started_at=row.started_at)


def _entry(world: World, row: QueueEntryRow) -> None:
    call, line = world.calls.get(row.call_id), world.lines.get(row.queue)
    if row.exit is not None:
        if call is not None:
            call.entries.append(row)
        return
    if call is None or line is None:
        world.write(
            replace(
                row, exit="withdrawn", left_at=world.now, wait_s=seconds(row.entered_at, world.now), repaired=True
            )
        )
        return
    call.entry = Entry(row, call)
    call.phase = "waiting"
    line.append(call.entry)
    line.sort(key=lambda entry: entry.order)
    world.timer("max_wait", row.entry_id, world.queues[row.queue].max_wait_s - seconds(row.entered_at, world.now))


def _offer(world: World, row: OfferRow) -> None:
    call = world.calls.get(row.call_id)
    agent = world.agents.get(row.agent_id)
    if row.result is not None:
        _past_offer(call, row)
        return
    if call is None or call.entry is None or call.entry.id != row.entry_id or agent is None:
        world.write(replace(row, result="agent_dropped", ended_at=world.now, repaired=True))
        return
    call.entry.offer = row
    call.entry.offers = max(call.entry.offers, _offer_number(row))
    call.phase = "ringing"
    agent.activity, agent.call = "ringing", call.id


def _past_offer(call: Call | None, row: OfferRow) -> None:
    """An offer that came to nothing still counts, so that the next one gets a number of its own."""
    if call is not None and call.entry is not None and call.entry.id == row.entry_id:
        call.entry.offers = max(call.entry.offers, _offer_number(row))


def _offer_number(row: OfferRow) -> int:
    return int(row.offer_id.rpartition("o")[2])


def _segment(world: World, row: SegmentRow) -> None:
    call, agent = world.calls.get(row.call_id), world.agents.get(row.agent_id)
    if row.ended_at is None and call is not None:
        call.talks[row.channel] = Talk(row)
        call.phase = "talking"
        world.by_channel[row.channel] = call
        world.channels[row.channel] = Channel(row.channel, "", row.device, started_at=row.started_at)
        call.legs[row.channel] = Leg(row.channel, "", "agent", row.started_at, row.device, row.started_at, "ANSWERED")
        if agent is not None:
            agent.activity, agent.call = "talking", call.id
        return
    if call is not None:
        call.segments.append(row)
    if row.wrap_up_s is None:
        _wrap_up(world, row, agent)


def _wrap_up(world: World, row: SegmentRow, agent: Agent | None) -> None:
    ended_at = row.ended_at or world.now
    closed = replace(
        row, ended_at=ended_at, talk_s=row.talk_s or seconds(row.started_at, ended_at), hold_s=row.hold_s or 0
    )
    if agent is None or row.queue not in world.queues:
        world.write(replace(closed, wrap_up_ended_at=ended_at, wrap_up_s=0.0))
        return
    agent.activity, agent.wrapping = "wrap_up", closed
    world.timer("wrap_up", row.segment_id, world.queues[row.queue].wrap_up_s - seconds(ended_at, world.now))


def _session(world: World, row: AgentSessionRow) -> None:
    agent = world.agents.get(row.agent_id)
    if agent is None:
        world.write(replace(row, ended_at=world.now, end_reason="removed"))
        return
    agent.session_row, agent.device, agent.status = row, row.device, "ready"
    world.seats[row.device] = agent.id


def _state(world: World, row: AgentStateRow) -> None:
    agent = world.agents.get(row.agent_id)
    if agent is None:
        world.write(replace(row, ended_at=world.now))
        return
    agent.state_row, agent.status, agent.reason = row, row.status, row.reason
    agent.since = agent.idle_since = row.started_at


def _recording(world: World, row: RecordingRow) -> None:
    call = world.calls.get(row.call_id)
    if row.verdict is not None:
        if call is not None:
            call.recording = row
        return
    world.recordings[row.recording_id] = row
    if call is not None:
        call.recording = row
        world.recorded_channels[call.channel] = row.recording_id
    else:
        world.timer("measure", row.recording_id, 0.0)


def _supervision(world: World, row: SupervisionRow) -> None:
    """The supervisor's own session did not survive: the listening may have, but nobody can say."""
    if row.ended_at is not None:
        return
    world.write(replace(row, ended_at=world.now))
