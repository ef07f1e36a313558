"""How a call ends: everything open is closed, and what the call came to is said in one word.

Promises: a call that was seen is closed exactly once, whatever was lost in between; its outcome is one word of
`CallOutcome`. A call that the centre itself ended unserved (no place, nobody there, maximum wait) is `refused`.
"""

from dataclasses import replace
from datetime import datetime

from ccsvc.domain.ids import ChannelId
from ccsvc.domain.lines import close_offer, leave
from ccsvc.domain.recording import call_over
from ccsvc.domain.records import CallRow, CdrRow
from ccsvc.domain.talking import end_talk
from ccsvc.domain.vocabulary import CallOutcome, EndedBy, QueueExit
from ccsvc.domain.world import Call, Channel, Leg, World, seconds


def close_call(world: World, call: Call, at: datetime, exit_: QueueExit = "abandoned") -> None:
    """The customer's channel is gone: end everything that is open and write the call's last row.

    `exit_` is what an open stay in a queue came to: `abandoned` unless the switch itself died.
    """
    left_at = call.hung_up_at if call.hung_up_at is not None and call.hung_up_by == "customer" else at
    if call.entry is not None:
        close_offer(world, call.entry, "caller_gone")
        leave(world, call.entry, exit_, left_at)
    for channel in list(call.talks):
        end_talk(world, call, channel, left_at)
    _forget(world, call)
    _end_leg(world, call, call.channel, at)
    call_over(world, call)
    call.row = _closing_row(call, at, exit_)
    world.write(call.row)
    world.report("call ended", call, outcome=call.row.outcome or "", ended_by=call.row.ended_by or "")


def _forget(world: World, call: Call) -> None:
    world.calls.pop(call.id, None)
    world.by_channel.pop(call.channel, None)
    if call.session is not None:
        world.sessions.pop(call.session, None)
        world.tokens.pop(call.session, None)
    call.dialog = None


def _closing_row(call: Call, at: datetime, exit_: QueueExit) -> CallRow:
    answered = [s for s in call.segments if s.queue is not None] or call.segments
    waits = _waits_until_answer(call)
    return replace(
        call.row,
        language=call.language,
        ended_at=max(at, call.row.started_at),
        outcome=_outcome(call, exit_),
        ended_by=_ended_by(call, exit_),
        queues=tuple(e.queue for e in call.entries),
        answered_at=min((s.started_at for s in answered), default=None),
        wait_s=sum(waits),
        talk_s=sum(s.talk_s or 0.0 for s in call.segments),
        hold_s=sum(s.hold_s or 0.0 for s in call.segments),
        first_agent_id=min(answered, key=lambda s: s.started_at).agent_id if answered else None,
        segment_count=len(call.segments),
        repaired=call.row.repaired or call.repaired,
    )


def _waits_until_answer(call: Call) -> list[float]:
    """The waiting times (s) of all stays up to and including the first that was answered."""
    waits: list[float] = []
    for entry in call.entries:
        waits.append(entry.wait_s or 0.0)
        if entry.exit == "answered":
            break
    return waits


def _outcome(call: Call, exit_: QueueExit) -> CallOutcome:
    if call.segments:
        return "answered"
    if exit_ == "system_lost":
        return "system_lost"
    last = call.entries[-1] if call.entries else None
    if last is not None and last.exit == "abandoned":
        return "short_abandoned" if last.short else "abandoned"
    return "refused" if call.entries or call.refused else "self_served"


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
    customer = call.legs.get(call.channel)
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
        billsec=seconds(leg.bridged_at, at) if leg.bridged_at else 0.0,
        dial_result=leg.dial_result,
        role=leg.role,
    )
