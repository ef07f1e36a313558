"""How a call ends: everything open is closed, and what the call came to is said in one word.

Promises: a call that was seen is closed exactly once, whatever was lost in between; its outcome is one word of
`CallOutcome`. A call that the centre itself ended unserved (no place, nobody there, maximum wait) is `refused`.
"""

from dataclasses import replace
from datetime import datetime

from ccsvc.domain.ids import AgentId, ChannelId
from ccsvc.domain.lines import close_offer, leave
from ccsvc.domain.recording import call_over
from ccsvc.domain.records import CallRow, CdrRow, IvrStepRow
from ccsvc.domain.talking import end_talk
from ccsvc.domain.vocabulary import CallOutcome, EndedBy, QueueExit
from ccsvc.domain.world import Call, Channel, Leg, World, seconds


def close_call(
    world: World, call: Call, at: datetime, exit_: QueueExit = "abandoned", left_at: datetime | None = None
) -> None:
    """The customer's channel is gone: end everything that is open and write the call's last row.

    `exit_` is what an open stay in a queue came to: `abandoned` unless the switch itself died. `left_at` is when
    the customer left, if that is known to have been before `at` and they did not say so themselves.
    """
    if call.hung_up_at is not None and call.hung_up_by == "customer":
        left_at = call.hung_up_at
    left_at = left_at or at
    _leave_menu(world, call, left_at)
    if call.entry is not None:
        close_offer(world, call.entry, "caller_gone")
        leave(world, call.entry, exit_, left_at)
    for channel in list(call.talks):
        end_talk(world, call, channel, left_at)
    _forget(world, call)
    world.bury(call.channel, "told")
    _end_leg(world, call, call.channel, at)
    call_over(world, call)
    call.row = _closing_row(call, at, exit_)
    world.write(call.row)
    world.report("call ended", call, outcome=call.row.outcome or "", ended_by=call.row.ended_by or "")


def _leave_menu(world: World, call: Call, at: datetime) -> None:
    """The customer hung up while a menu's node was being said, or waited for a key."""
    if call.in_node:
        call.in_node, call.steps = False, call.steps + 1
        step = IvrStepRow(call.id, call.steps, call.row.pbx, call.ivr, call.node, at, "", "hung_up")
        world.write(step)


def _forget(world: World, call: Call) -> None:
    world.calls.pop(call.id, None)
    world.by_channel.pop(call.channel, None)
    if call.session is not None:
        world.sessions.pop(call.session, None)
        world.tokens.pop(call.session, None)
    call.dialog = None


def _closing_row(call: Call, at: datetime, exit_: QueueExit) -> CallRow:
    answered_at, first_agent_id = _first_answer(call)
    return replace(
        call.row,
        language=call.language,
        ended_at=max(at, call.row.started_at),
        outcome=_outcome(call, exit_),
        ended_by=_ended_by(call, exit_),
        queues=tuple(e.queue for e in call.entries),
        answered_at=answered_at,
        wait_s=sum(_waits_until_answer(call)),
        talk_s=sum(s.talk_s or 0.0 for s in call.segments),
        hold_s=sum(s.hold_s or 0.0 for s in call.segments),
        first_agent_id=first_agent_id,
        segment_count=len(call.segments),
        repaired=call.row.repaired or call.repaired,
    )


def _first_answer(call: Call) -> tuple[datetime | None, AgentId | None]:
    """When and by whom the call was first answered: from a queue, else at all, else as its stays say."""
    segments = [s for s in call.segments if s.queue is not None] or call.segments
    first = min(segments, key=lambda s: s.started_at, default=None)
    if first is not None:
        return first.started_at, first.agent_id
    stay = next((e for e in call.entries if e.exit == "answered"), None)
    return (stay.left_at, stay.agent_id) if stay is not None else (None, None)


def _waits_until_answer(call: Call) -> list[float]:
    """The waiting times (s) of all stays up to and including the first that was answered."""
    waits: list[float] = []
    for entry in call.entries:
        waits.append(entry.wait_s or 0.0)
        if entry.exit == "answered":
            break
    return waits


def _outcome(call: Call, exit_: QueueExit) -> CallOutcome:
    last = call.entries[-1] if call.entries else None
    if call.segments or any(entry.exit == "answered" for entry in call.entries):
        return "answered"
    if exit_ == "system_lost":
        return "system_lost"
    if last is not None and last.exit == "abandoned":
        return "short_abandoned" if last.short else "abandoned"
    if call.refused or (last is not None and last.exit in _SENT_AWAY):
        return "refused"
    return "self_served" if last is None else "unknown"


_SENT_AWAY: frozenset[QueueExit] = frozenset({"timed_out", "left_empty"})
"""The queue itself ended the stay. Where it ended otherwise, and nobody answered, nobody here can say."""


def _ended_by(call: Call, exit_: QueueExit) -> EndedBy:
    if exit_ == "system_lost":
        return "system"
    return call.hung_up_by or "system"


def leg_ended(world: World, call: Call, channel: Channel, at: datetime) -> None:
    """An agent's channel of this call is gone."""
    if channel.id in call.talks:
        end_talk(world, call, channel.id, at)
    _end_leg(world, call, channel.id, at)


def _end_leg(world: World, call: Call, channel_id: ChannelId, at: datetime) -> None:
    leg = call.legs.get(channel_id)
    if leg is None or leg.ended:
        return
    leg.ended = True
    world.write(_cdr(call, leg, at))


def _cdr(call: Call, leg: Leg, at: datetime) -> CdrRow:
    """A customer is answered by the dialplan as they come, so their leg counts from its start, as Asterisk's does."""
    customer = call.legs.get(call.channel)
    answered_at = leg.started_at if leg.role == "customer" else leg.bridged_at
    return CdrRow(
        pbx=call.row.pbx,
        uniqueid=leg.channel,
        linkedid=call.row.channel,
        call_id=call.id,
        calldate=leg.started_at,
        clid=f'"{call.row.caller_name}" <{call.row.caller}>' if call.row.caller_name else call.row.caller,
        src=call.row.caller,
        dst=call.row.did if leg.role == "customer" else leg.device or "",
        channel=customer.name if customer else "",
        dstchannel="" if leg.role == "customer" else leg.name,
        duration=seconds(leg.started_at, at),
        billsec=seconds(answered_at, at) if answered_at else 0.0,
        dial_result="ANSWERED" if leg.role == "customer" else leg.dial_result,
        role=leg.role,
    )
