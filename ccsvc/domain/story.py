"""A customer's call while it lasts: where it goes next. How it ends is told in `ccsvc.domain.closing`.

Promises: a caller who comes back on the same channel (a new daemon, a broken session) stands where they stood;
nothing here leaves a caller without a next step.
"""

from collections.abc import Generator
from dataclasses import replace

from ccsvc.domain.commands import FinishSession, RideAlong
from ccsvc.domain.conversation import start
from ccsvc.domain.dialog import Answer, Dialog, Request, Tell
from ccsvc.domain.events import CallArrived, DialFinished, HangupRequested
from ccsvc.domain.ids import QueueName, call_id
from ccsvc.domain.ivr import walk
from ccsvc.domain.lines import (
    close_offer,
    enter,
    leave,
    offer_agent,
    offer_entry,
    out_of_time,
    play_music,
    refusal,
    refuse,
    retry_later,
)
from ccsvc.domain.records import CallRow
from ccsvc.domain.resume import EPOCH, Place, decode, encode
from ccsvc.domain.talking import end_talk
from ccsvc.domain.targets import GoIvr, GoNode, GoQueue, Step, parse_target
from ccsvc.domain.vocabulary import OfferResult, QueueExit
from ccsvc.domain.world import Call, Channel, Entry, Leg, World

MAX_HOPS = 50
"""Queues and menus that one call may pass through: a ring of overflows ends here."""

UNBRIDGED_LIMIT_S = 1.0
"""How long an answered dial may wait for the news of its bridge before it counts as an agent who dropped."""

OFFER_RESULTS: dict[str, OfferResult] = {
    "NOANSWER": "no_answer",
    "BUSY": "rejected",
    "CANCEL": "caller_gone",
    "CHANUNAVAIL": "unreachable",
    "CONGESTION": "unreachable",
    "UNKNOWN": "unreachable",
    "": "unreachable",
}


def arrived(world: World, event: CallArrived) -> Call:
    """A customer's session has opened: a new call, one that comes back, or one that was transferred here."""
    place = decode(event.resume)
    call = world.by_channel.get(event.channel)
    known = call is not None
    if call is None:
        call = _new_call(world, event, place)
    call.session = event.session
    world.sessions[event.session] = call
    if place is not None:
        world.report("caller came back", call, phase=call.phase)
        _resume(world, call, place, event)
    else:
        if known:
            _transferred(world, call)
        route(world, call, event.did)
    return call


def _new_call(world: World, event: CallArrived, place: Place | None) -> Call:
    pbx = world.settings.pbx.name
    did = next((d for d in world.settings.did if d.number == event.did), None)
    row = CallRow(
        call_id=place.call if place else call_id(pbx, event.linkedid),
        pbx=pbx,
        channel=event.channel,
        direction="inbound",
        started_at=place.started_at if place else event.at,
        caller=event.caller,
        caller_name=event.caller_name,
        did=event.did,
        language=place.language if place else did.language if did else "en",
        repaired=place is not None,
    )
    call = Call(row, event.channel, language=row.language, repaired=place is not None)
    call.legs[event.channel] = Leg(event.channel, event.channel_name, "customer", row.started_at)
    adopt(world, call)
    channel = world.channels.setdefault(event.channel, Channel(event.channel, event.channel_name, None))
    channel.started_at = row.started_at
    world.write(row)
    world.report("call arrived", call, did=event.did, language=row.language)
    return call


def adopt(world: World, call: Call) -> None:
    """Make the call known under its id and its customer's channel."""
    world.calls[call.id] = call
    world.by_channel[call.channel] = call


def _transferred(world: World, call: Call) -> None:
    """The customer was sent to another number: whatever waited for them before is over."""
    call.dialog = None
    call.phase = "ivr"
    call.row = replace(
        call.row,
        transfers_attempted=call.row.transfers_attempted + 1,
        transfers_completed=call.row.transfers_completed + 1,
    )
    for channel in list(call.talks):
        end_talk(world, call, channel, world.now)
    if call.entry is not None:
        close_offer(world, call.entry, "caller_gone")
        leave(world, call.entry, "transferred", world.now)


def _resume(world: World, call: Call, place: Place, event: CallArrived) -> None:
    if place.served or call.served or event.dial_status == "ANSWER":
        finish(world, call)
    elif call.entry is not None:
        close_offer(world, call.entry, OFFER_RESULTS.get(event.dial_status, "unreachable"))
        wait(world, call.entry)
    elif place.queue in world.queues:
        queue = QueueName(place.queue)
        wait(world, enter(world, call, queue, since=place.entered_at, n=place.entry_n))
    elif place.ivr in world.settings.ivr and place.node in world.settings.ivr[place.ivr].node:
        call.ivr = place.ivr
        start_menu(world, call, place.node)
    else:
        route(world, call, event.did)


def route(world: World, call: Call, did: str) -> None:
    """Send the call where its number leads."""
    settings = next((d for d in world.settings.did if d.number == did), None)
    if settings is None:
        world.report("number leads nowhere", call, did=did)
        finish(world, call)
        return
    go(world, call, parse_target(settings.target)[-1])


def go(world: World, call: Call, step: Step | None) -> None:
    """Take the step that a number, a menu or an overflow leads to."""
    call.hops += 1
    if call.hops > MAX_HOPS:
        world.report("call went in circles", call, hops=call.hops)
        finish(world, call)
        return
    match step:
        case GoIvr(name) if name in world.settings.ivr:
            call.ivr = name
            start_menu(world, call, world.settings.ivr[name].start)
        case GoNode(name):
            start_menu(world, call, name)
        case GoQueue(name) if QueueName(name) in world.queues:
            to_queue(world, call, QueueName(name))
        case _:
            finish(world, call)


def start_menu(world: World, call: Call, node: str) -> None:
    call.phase = "ivr"
    begin(world, call, walk(call.ivr, world.settings.ivr[call.ivr], node))


def begin(world: World, call: Call, dialog: Dialog) -> None:
    """Start a dialog with the caller; one that ends at once leads on at once."""
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


def ride(world: World, call: Call) -> None:
    """Write the call's place onto its channel: see `ccsvc.domain.resume`."""
    if call.session is None:
        return
    entry = call.entry
    place = Place(
        call=call.id,
        started_at=call.row.started_at,
        language=call.language,
        ivr=call.ivr,
        node=call.node,
        queue=entry.queue if entry else "",
        entry_n=int(entry.id.rpartition("q")[2]) if entry else 0,
        entered_at=entry.row.entered_at if entry else EPOCH,
        priority=entry.row.priority if entry else 0,
        served=call.served,
    )
    variables = [("CCSVC_STATE", encode(place)), ("CCSVC_QUEUE", place.queue), ("DIALSTATUS", "")]
    if entry is not None:
        variables.append(("CCSVC_PRIO", str(max(0, entry.row.priority))))
    world.emit(RideAlong(call.session, tuple(variables)))


def finish(world: World, call: Call) -> None:
    """End the session on purpose; the dialplan hangs up."""
    call.phase = "after"
    if call.session is not None:
        world.emit(FinishSession(call.session))


def dial_finished(world: World, call: Call, event: DialFinished) -> None:
    """`EXEC Dial` is over. What it means for the agent was or will be said by the switch itself."""
    if event.result < 0 or event.transferred_by:
        call.phase = "leaving"
        return
    entry = call.entry
    if entry is None or entry.offer is None or entry.offer.offer_id != event.offer:
        if entry is None:
            finish(world, call)
        return
    if event.status == "ANSWER":
        world.timer("unbridged", entry.id, UNBRIDGED_LIMIT_S)
        return
    fail_offer(world, entry, OFFER_RESULTS[event.status])


def fail_offer(world: World, entry: Entry, result: OfferResult) -> None:
    """The offer came to nothing: the caller keeps their place, the agent takes whoever else waits."""
    agent = world.agents.get(entry.offer.agent_id) if entry.offer else None
    close_offer(world, entry, result)
    wait(world, entry)
    if agent is not None:
        offer_agent(world, agent)


def hangup_requested(world: World, event: HangupRequested) -> None:
    call = world.by_channel.get(event.channel)
    if call is None or call.hung_up_by is not None:
        return
    if event.channel == call.channel:
        call.hung_up_by, call.hung_up_at = "customer", event.at
        if call.phase in ("waiting", "ivr"):
            call.phase = "leaving"
    elif event.channel in call.talks:
        call.hung_up_by, call.hung_up_at = "agent", event.at
