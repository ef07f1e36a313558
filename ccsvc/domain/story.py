"""A customer's call while it lasts: where it goes next. How it ends is told in `ccsvc.domain.closing`.

Promises: a caller who comes back on the same channel (a new daemon, a broken session) stands where they stood;
nothing here leaves a caller without a next step. What an older session, an older offer or an older timer brings
is compared with the present and ignored.
"""

from collections.abc import Generator
from dataclasses import replace

from ccsvc.domain.closing import close_call
from ccsvc.domain.commands import FinishSession
from ccsvc.domain.conversation import start
from ccsvc.domain.dialog import Answer, Dialog, Request, Tell
from ccsvc.domain.events import CallArrived, DialFinished, HangupRequested
from ccsvc.domain.floor import happen
from ccsvc.domain.ids import CallId, ChannelId, QueueName, call_id
from ccsvc.domain.ivr import walk
from ccsvc.domain.lines import (
    close_offer,
    deserted,
    enter,
    leave,
    number_of,
    offer_entry,
    out_of_time,
    play_music,
    refusal,
    refuse,
    retry_later,
    watch_limit,
)
from ccsvc.domain.records import CallRow, QueueEntryRow
from ccsvc.domain.resume import Place, decode, ride
from ccsvc.domain.talking import end_talk, part
from ccsvc.domain.targets import GoIvr, GoNode, GoQueue, HangUp, Step, parse_target
from ccsvc.domain.vocabulary import OfferResult, QueueExit
from ccsvc.domain.world import Call, Channel, Entry, Leg, World

MAX_HOPS = 50
"""Queues and menus that one call may pass through: a ring of overflows ends here."""

UNBRIDGED_LIMIT_S = 1.0
"""How long an answered dial may wait for the news of its bridge before it counts as an agent who dropped."""

LEAVING_LIMIT_S = 10.0
"""How long a session may go on after its Dial said that the caller leaves."""

OFFER_RESULTS: dict[str, OfferResult] = {
    "NOANSWER": "no_answer",
    "BUSY": "rejected",
    "CANCEL": "caller_gone",
    "CHANUNAVAIL": "unreachable",
    "CONGESTION": "unreachable",
    "UNKNOWN": "unreachable",
    "": "unreachable",
}


def arrived(world: World, event: CallArrived) -> None:
    """A customer's session has opened: a new call, one that comes back, or one that was transferred here."""
    if event.session in world.sessions:
        return
    if world.is_gone(event.channel):
        _arrived_too_late(world, event)
        return
    call = world.customer(event.channel)
    place = _place(world, call, event)
    if call is None:
        call, moved = _new_call(world, event, place), place is not None and bool(event.transferred_by)
    else:
        moved = _was_transferred(call, place, event)
        _take_over(world, call)
    call.session, call.away_since = event.session, None
    world.sessions[event.session] = call
    _go_on(world, call, place, event, moved=moved)


def _arrived_too_late(world: World, event: CallArrived) -> None:
    """The channel is gone already. A call that nobody heard of before is told of all the same."""
    world.report("session of a channel that is gone", None, channel=event.channel)
    world.emit(FinishSession(event.session))
    if world.ended[event.channel] == "gone":
        call = _new_call(world, event, None)
        world.channels.pop(event.channel)
        close_call(world, call, event.at)


def _go_on(world: World, call: Call, place: Place | None, event: CallArrived, *, moved: bool) -> None:
    """Lead the call on: to where it was sent, to where it stood, or to where its number leads."""
    if moved:
        _transferred(world, call, event)
    elif place is not None or call.entry is not None or call.phase == "after":
        world.report("caller came back", call, phase=call.phase)
        _resume(world, call, place or Place(call.id, call.row.started_at, call.language), event)
        return
    route(world, call, event.did)


def _place(world: World, call: Call | None, event: CallArrived) -> Place | None:
    """What rode on the channel, if it is of this call: after an attended transfer it may be another's."""
    place = decode(event.resume)
    own = call.id if call is not None else call_id(world.settings.pbx.name, event.linkedid)
    return place if place is not None and place.call == own else None


def _was_transferred(call: Call, place: Place | None, event: CallArrived) -> bool:
    """Whether a known caller comes because they were sent here, and not because their session broke.

    Without a place on the channel: when they were served, or are at another number than before.
    """
    if event.transferred_by and event.transferred_by != call.transferred_by:
        return True
    served = call.served and call.entry is None and call.phase != "ivr"
    return place is None and (served or event.did != call.did)


def _take_over(world: World, call: Call) -> None:
    """A new session on a known channel: the old one is over, so is whatever bridge the channel was in.

    And the customer has not hung up, whatever was told.
    """
    if call.session is not None:
        world.sessions.pop(call.session, None)
        world.tokens.pop(call.session, None)
    call.dialog, call.dialling = None, None
    if call.hung_up_by == "customer":
        call.hung_up_by, call.hung_up_at = None, None
    channel = world.channels.get(call.channel)
    if channel is not None and channel.bridge:
        part(world, channel)


def _new_call(world: World, event: CallArrived, place: Place | None) -> Call:
    did = next((d for d in world.settings.did if d.number == event.did), None)
    row = CallRow(
        call_id=_new_id(world, event),
        pbx=world.settings.pbx.name,
        channel=event.channel,
        direction="inbound",
        started_at=place.started_at if place else event.at,
        caller=event.caller,
        caller_name=event.caller_name,
        did=event.did,
        language=place.language if place else did.language if did else "en",
        repaired=place is not None,
    )
    call = Call(row, event.channel, language=row.language, did=event.did, repaired=place is not None)
    call.entry_count = place.entry_n if place else 0
    call.legs[event.channel] = Leg(event.channel, event.channel_name, "customer", row.started_at)
    adopt(world, call, event.channel_name)
    world.write(row)
    world.report("call arrived", call, did=event.did, language=row.language)
    return call


def _new_id(world: World, event: CallArrived) -> CallId:
    """The id of the linkedid, unless another call has it, or one that was closed because a look missed it."""
    pbx = world.settings.pbx.name
    wanted = call_id(pbx, event.linkedid)
    if world.ended.get(event.channel) == "missed":
        return call_id(pbx, f"{event.linkedid}-{event.at:%H%M%S%f}")
    return wanted if wanted not in world.calls else call_id(pbx, event.channel)


def adopt(world: World, call: Call, channel_name: str) -> None:
    """Make the call known under its id and its customer's channel, which may have been an agent's until now."""
    channel = world.channels.setdefault(call.channel, Channel(call.channel, channel_name, None))
    former = world.by_channel.get(call.channel)
    if former is not None:
        former.legs.pop(call.channel, None)
        if call.channel in former.talks:
            end_talk(world, former, call.channel, world.now)
    if channel.bridge:
        part(world, channel)
    channel.started_at = call.row.started_at
    world.calls[call.id] = call
    world.by_channel[call.channel] = call


def _transferred(world: World, call: Call, event: CallArrived) -> None:
    """The customer was sent to another number: whatever waited for them before is over."""
    call.phase, call.did, call.transferred_by = "ivr", event.did, event.transferred_by
    call.hung_up_by, call.hung_up_at = None, None
    call.row = replace(
        call.row,
        transfers_attempted=call.row.transfers_attempted + 1,
        transfers_completed=call.row.transfers_completed + 1,
    )
    world.write(call.row)
    for channel in list(call.talks):
        end_talk(world, call, channel, world.now)
    if call.entry is not None:
        close_offer(world, call.entry, "caller_gone")
        leave(world, call.entry, "transferred", world.now)


def _resume(world: World, call: Call, place: Place, event: CallArrived) -> None:
    call.language = place.language
    past = next((row for row in call.entries if number_of(row) == place.entry_n), None)
    if call.entry is not None:
        _wait_again(world, call.entry, event.dial_status)
    elif call.phase == "after" or place.served or event.dial_status == "ANSWER":
        finish(world, call)
    elif past is not None:
        _after_stay(world, call, past)
    elif place.queue in world.queues:
        queue = QueueName(place.queue)
        wait(world, enter(world, call, queue, since=place.entered_at, n=place.entry_n, priority=place.priority))
    elif place.ivr in world.settings.ivr and place.node in world.settings.ivr[place.ivr].node:
        _menu_again(world, call, place)
    else:
        route(world, call, event.did)


def _wait_again(world: World, entry: Entry, dial_status: str) -> None:
    """The caller is back in line, unless what rang when they went away was answered unseen."""
    if dial_status == "ANSWER":
        served_unseen(world, entry)
        return
    close_offer(world, entry, OFFER_RESULTS.get(dial_status, "unreachable"))
    watch_limit(world, entry)
    wait(world, entry)


def _after_stay(world: World, call: Call, row: QueueEntryRow) -> None:
    """The session broke between the end of a stay and what was to follow it."""
    settings = world.queues.get(row.queue)
    if row.exit == "answered" or settings is None:
        finish(world, call)
    elif row.exit == "timed_out":
        go(world, call, parse_target(settings.on_timeout)[-1])
    elif row.exit == "left_empty":
        go(world, call, parse_target(settings.on_empty)[-1])
    else:
        to_queue(world, call, row.queue)


def _menu_again(world: World, call: Call, place: Place) -> None:
    """Say the node again; on the call's path it stands once."""
    if call.row.ivr_path[-1:] == (f"{place.ivr}.{place.node}",):
        call.row = replace(call.row, ivr_path=call.row.ivr_path[:-1])
    call.ivr = place.ivr
    start_menu(world, call, place.node)


def route(world: World, call: Call, did: str) -> None:
    """Send the call where its number leads."""
    settings = next((d for d in world.settings.did if d.number == did), None)
    if settings is None:
        world.report("number leads nowhere", call, did=did)
        send_away(world, call)
        return
    go(world, call, parse_target(settings.target)[-1])


def go(world: World, call: Call, step: Step | None) -> None:
    """Take the step that a number, a menu or an overflow leads to."""
    call.hops += 1
    if call.hops > MAX_HOPS:
        world.report("call went in circles", call, hops=call.hops)
        send_away(world, call)
        return
    match step:
        case GoIvr(name) if name in world.settings.ivr:
            call.ivr = name
            start_menu(world, call, world.settings.ivr[name].start)
        case GoNode(name) if call.ivr in world.settings.ivr and name in world.settings.ivr[call.ivr].node:
            start_menu(world, call, name)
        case GoQueue(name) if QueueName(name) in world.queues:
            to_queue(world, call, QueueName(name))
        case HangUp() | None:
            finish(world, call)
        case _:
            world.report("target leads nowhere", call, step=str(step))
            send_away(world, call)


def start_menu(world: World, call: Call, node: str) -> None:
    begin(world, call, walk(call.ivr, world.settings.ivr[call.ivr], node))


def begin(world: World, call: Call, dialog: Dialog) -> None:
    """Start a dialog with the caller; one that ends at once leads on at once."""
    call.phase = "ivr"
    done = start(world, call, dialog)
    if done is not None:
        go(world, call, done.step)


def to_queue(world: World, call: Call, queue: QueueName) -> None:
    settings = world.queues[queue]
    reason = refusal(world, queue)
    if reason is None:
        wait(world, enter(world, call, queue))
        return
    refuse(world, call, queue, reason)
    begin(
        world, call, apologise(f"queue_{reason}_sorry", settings.on_full if reason == "full" else settings.on_empty)
    )


def apologise(prompt: str, target: str) -> Generator[Request, Answer, Step | None]:
    yield Tell((prompt,))
    return parse_target(target)[-1]


def wait(world: World, entry: Entry) -> None:
    """The caller waits (again): the channel is told where, music plays, and whoever is free is rung."""
    call = entry.call
    call.phase = "waiting"
    if out_of_time(world, entry):
        give_up(world, entry, "timed_out")
        return
    if entry.stranded and deserted(world, entry.queue):
        give_up(world, entry, "left_empty")
        return
    ride(world, call)
    if not offer_entry(world, entry):
        play_music(world, entry)
        if entry.tried:
            retry_later(world, entry)


def give_up(world: World, entry: Entry, exit_: QueueExit) -> None:
    """The queue ends the stay itself: say so, then follow the queue's own next step."""
    settings = world.queues[entry.queue]
    prompt, target = ("queue_timeout_sorry", settings.on_timeout)
    if exit_ == "left_empty":
        prompt, target = ("queue_empty_sorry", settings.on_empty)
    leave(world, entry, exit_, world.now)
    begin(world, entry.call, apologise(prompt, target))


def finish(world: World, call: Call) -> None:
    """End the session on purpose; the dialplan hangs up."""
    call.phase = "after"
    if call.session is not None:
        world.emit(FinishSession(call.session))


def send_away(world: World, call: Call) -> None:
    """End the session of a caller who could not be led anywhere."""
    call.refused = True
    finish(world, call)


def dial_finished(world: World, call: Call, event: DialFinished) -> None:
    """`EXEC Dial` is over. What it means for the agent was or will be said by the switch itself."""
    if call.dialling != event.offer:
        return
    call.dialling = None
    entry = call.entry
    if event.result < 0 or event.transferred_by or call.hung_up_by == "customer":
        call.phase = "leaving"
        world.timer("unbridged", event.offer, LEAVING_LIMIT_S)
    elif entry is None:
        finish(world, call)
    elif entry.offer is None:
        wait(world, entry)
    elif event.status != "ANSWER":
        fail_offer(world, entry, OFFER_RESULTS[event.status])
    elif world.connected:
        world.timer("unbridged", event.offer, UNBRIDGED_LIMIT_S)
    else:
        served_unseen(world, entry)


def unbridged(world: World, offer: str) -> None:
    """A while ago a Dial ended before the switch told what came of it. It may have told since.

    If nothing was told the agent dropped, and the caller waits on. If the conversation is over, so is the call.
    """
    call = world.calls.get(CallId(offer.rpartition("/q")[0]))
    if call is None or call.session is None or call.dialling is not None or call.hung_up_by == "customer":
        return
    entry = call.entry
    if entry is not None and entry.offer is not None and entry.offer.offer_id == offer:
        fail_offer(world, entry, "caller_gone" if call.phase == "leaving" else "agent_dropped")
    elif call.talks:
        world.timer("unbridged", offer, UNBRIDGED_LIMIT_S)
    elif entry is None and call.phase in ("talking", "leaving"):
        finish(world, call)


def served_unseen(world: World, entry: Entry) -> None:
    """The ring was answered while nobody could see it. The wait is known up to the ring; the talk is not known."""
    call, offer = entry.call, entry.offer
    call.repaired = True
    agent = world.agents.get(offer.agent_id) if offer is not None else None
    close_offer(world, entry, "accepted")
    if agent is not None and agent.activity == "ringing":
        happen(world, agent, "offer_ended")
    leave(world, entry, "answered", offer.offered_at if offer is not None else world.now, agent)
    finish(world, call)


def fail_offer(world: World, entry: Entry, result: OfferResult) -> None:
    """The offer came to nothing: the caller keeps their place, the agent takes whoever else waits."""
    close_offer(world, entry, result)
    wait(world, entry)


def hangup_requested(world: World, event: HangupRequested) -> None:
    call = world.by_channel.get(event.channel)
    if call is None or call.hung_up_by is not None:
        return
    if event.channel == call.channel:
        call.hung_up_by, call.hung_up_at = "customer", event.at
        if call.phase in ("waiting", "ivr"):
            call.phase = "leaving"
    elif event.channel in call.talks or _talked_last(call, event.channel):
        call.hung_up_by, call.hung_up_at = "agent", event.at


def _talked_last(call: Call, channel: ChannelId) -> bool:
    """The journal tells of a hang-up only after the bridge was left: whoever talked last ended the conversation.

    Unless the caller has gone on since, to a menu or a queue.
    """
    over = not call.talks and call.phase in ("talking", "leaving", "after")
    return over and bool(call.segments) and call.segments[-1].channel == channel
