"""The queue engine: who waits where, who is offered to whom, and how a stay in a queue ends.

Invariants, held by property tests: an entry ends exactly once; a caller has at most one offer at a time and an
agent at most one; entered = exits + waiting; a place in line (priority, then entry time) is never lost by an
offer that failed.

    enter ──▶ waiting ──offer──▶ ringing ──bridged──▶ answered
                 ▲                  │
                 └──offer failed────┘      any time: abandoned · timed_out · left_empty · …
"""

from bisect import insort
from dataclasses import replace
from datetime import datetime
from heapq import merge

from ccsvc.domain.commands import DialAgent, PlayMusic
from ccsvc.domain.floor import can_be_offered, happen
from ccsvc.domain.ids import AgentId, QueueName, entry_id, offer_id
from ccsvc.domain.recording import start_recording
from ccsvc.domain.records import OfferRow, QueueEntryRow, QueueRefusalRow
from ccsvc.domain.routing import choose
from ccsvc.domain.vocabulary import OfferResult, QueueExit, RefusalReason
from ccsvc.domain.world import Agent, Call, Entry, World, seconds

MINIMUM_RING_S = 1.0
"""A ring shorter than this is no offer: the phone would hardly sound."""

MINIMUM_RETRY_S = 1.0
"""An agent's phone that refuses at once is not rung more often than this, whatever the queue's `retry_s` says."""


def refusal(world: World, queue: QueueName) -> RefusalReason | None:
    """Why this queue lets nobody in just now, or None."""
    settings = world.queues[queue]
    if len(world.lines[queue]) >= settings.max_waiting:
        return "full"
    if not settings.join_empty and deserted(world, queue):
        return "empty"
    return None


def deserted(world: World, queue: QueueName) -> bool:
    """Nobody of this queue is logged in. Paused agents count as present: they come back."""
    return all(agent.status == "logged_out" for agent in world.members(queue))


def refuse(world: World, call: Call, queue: QueueName, reason: RefusalReason) -> None:
    call.refused = True
    world.write(QueueRefusalRow(call.id, world.settings.pbx.name, queue, world.now, reason))
    world.report("caller refused", call, queue=queue, reason=reason)


def enter(
    world: World,
    call: Call,
    queue: QueueName,
    *,
    since: datetime | None = None,
    n: int = 0,
    priority: int | None = None,
) -> Entry:
    """Put the call in line. `since`, `n` and `priority` are given when the place was brought along."""
    settings = world.queues[queue]
    n = n or call.entry_count + 1
    row = QueueEntryRow(
        entry_id=entry_id(call.id, n),
        call_id=call.id,
        pbx=world.settings.pbx.name,
        queue=queue,
        entered_at=since or world.now,
        priority=settings.priority if priority is None else priority,
        target_s=settings.target_s,
        short_abandon_s=settings.short_abandon_s,
        repaired=since is not None,
    )
    world.write(row)
    world.report("caller entered queue", call, queue=queue, waiting=len(world.lines[queue]) + 1)
    return stand(world, Entry(row, call))


def stand(world: World, entry: Entry) -> Entry:
    """Take the entry's place in its line and start the clock of its maximum wait."""
    call = entry.call
    call.entry, call.phase = entry, "waiting"
    call.entry_count = max(call.entry_count, number_of(entry.row))
    insort(world.lines[entry.queue], entry, key=lambda e: e.order)
    world.entries[entry.id] = entry
    watch_limit(world, entry)
    return entry


def number_of(row: QueueEntryRow) -> int:
    """The n of `<call>/q<n>`."""
    return int(row.entry_id.rpartition("q")[2])


def watch_limit(world: World, entry: Entry) -> None:
    """Start the clock of what is left of the entry's maximum wait."""
    world.timer("max_wait", entry.id, _time_left_s(world, entry))


def leave(world: World, entry: Entry, exit_: QueueExit, at: datetime, agent: Agent | None = None) -> QueueEntryRow:
    """End the stay. The wait is measured to `at`; `short` is judged on the call's waiting in all its queues."""
    call, row = entry.call, entry.row
    wait_s = seconds(row.entered_at, at)
    waited_s = wait_s + sum(e.wait_s or 0.0 for e in call.entries)
    row = replace(
        row,
        left_at=max(at, row.entered_at),
        exit=exit_,
        wait_s=wait_s,
        in_target=wait_s <= row.target_s,
        short=exit_ == "abandoned" and waited_s <= row.short_abandon_s,
        agent_id=agent.id if agent else None,
        repaired=row.repaired or call.repaired,
    )
    world.lines[entry.queue].remove(entry)
    del world.entries[entry.id]
    call.entries.append(row)
    call.entry = None
    world.write(row)
    world.report("caller left queue", call, queue=entry.queue, exit=exit_, wait_s=round(wait_s, 3))
    return row


def close_offer(world: World, entry: Entry, result: OfferResult) -> None:
    """End the open offer, if there is one. Of a failed one the agent is idle again and goes to the end of the row.

    An accepted one leaves the agent ringing: who calls this says what they do now.
    """
    offer = entry.offer
    if offer is None:
        return
    entry.offer = None
    entry.tried[offer.agent_id] = world.now
    world.write(replace(offer, ended_at=max(world.now, offer.offered_at), result=result))
    world.report("offer ended", entry.call, agent=offer.agent_id, result=result)
    agent = world.agents.get(offer.agent_id)
    if agent is not None and agent.offered is entry:
        agent.offered = None
        world.freed[agent.id] = None
        if result != "accepted" and agent.activity == "ringing":
            _stop_ringing(world, agent, result)


def _stop_ringing(world: World, agent: Agent, result: OfferResult) -> None:
    idle_since = agent.idle_since
    happen(world, agent, "offer_ended")
    if result in BLAMELESS:
        agent.idle_since = idle_since


BLAMELESS = frozenset({"caller_gone", "lost_race"})
"""Results that say nothing about the agent: they keep their turn."""


def offer_entry(world: World, entry: Entry) -> bool:
    """Offer the caller to the best agent who can take the call now; False if there is none."""
    if not _can_be_rung_for(entry) or out_of_time(world, entry):
        return False
    free = [a for a in world.members(entry.queue) if can_be_offered(world, a) and _may_try(world, entry, a)]
    agent = choose(world.queues[entry.queue].strategy, free)
    if agent is None:
        return False
    _offer(world, entry, agent, min(world.queues[entry.queue].ring_timeout_s, _time_left_s(world, entry)))
    return True


def _can_be_rung_for(entry: Entry) -> bool:
    """The caller waits with a session that is free to dial."""
    call = entry.call
    return entry.offer is None and call.session is not None and call.phase == "waiting" and call.dialling is None


def offer_agent(world: World, agent: Agent) -> bool:
    """An agent may have become free: give them the caller who is first among all of their queues."""
    if not can_be_offered(world, agent):
        return False
    for entry in merge(*(world.lines.get(queue, ()) for queue in agent.queues), key=lambda e: e.order):
        if not _may_try(world, entry, agent):
            retry_later(world, entry)
        elif offer_entry(world, entry) and not can_be_offered(world, agent):
            return True
    return False


def retry_later(world: World, entry: Entry) -> None:
    """Nobody could be offered: look again when the first of those tried in vain may be tried again.

    Those who may be tried already are busy; they are offered the caller when they become free.
    """
    pauses_s = [left_s for agent in entry.tried if (left_s := _pause_left_s(world, entry, agent)) > 0]
    if pauses_s and not entry.retry_armed:
        entry.retry_armed = True
        world.timer("retry", entry.id, max(SHORTEST_RETRY_TIMER_S, min(pauses_s)))


def retry_now(world: World, entry: Entry) -> None:
    """The time of a retry has come."""
    entry.retry_armed = False
    if not offer_entry(world, entry) and entry.call.phase == "waiting":
        retry_later(world, entry)


SHORTEST_RETRY_TIMER_S = 0.01
"""Two clocks that differ by a hair must not make a timer come back again and again."""


def out_of_time(world: World, entry: Entry) -> bool:
    """Whether the entry's maximum wait leaves no room for another ring."""
    return _time_left_s(world, entry) < MINIMUM_RING_S


def find(world: World, subject: str) -> Entry | None:
    """The waiting entry with this id."""
    return world.entries.get(subject)


def _may_try(world: World, entry: Entry, agent: Agent) -> bool:
    return _pause_left_s(world, entry, agent.id) <= 0


def _pause_left_s(world: World, entry: Entry, agent: AgentId) -> float:
    """How long (s) this agent is not to be tried again for this entry."""
    tried_at = entry.tried.get(agent)
    if tried_at is None:
        return 0.0
    return max(MINIMUM_RETRY_S, world.queues[entry.queue].retry_s) - seconds(tried_at, world.now)


def _time_left_s(world: World, entry: Entry) -> float:
    return world.queues[entry.queue].max_wait_s - seconds(entry.row.entered_at, world.now)


def _offer(world: World, entry: Entry, agent: Agent, ring_s: float) -> None:
    call, settings = entry.call, world.queues[entry.queue]
    assert agent.device is not None
    assert call.session is not None
    entry.offers += 1
    entry.offer = OfferRow(
        offer_id=offer_id(entry.id, entry.offers),
        entry_id=entry.id,
        call_id=call.id,
        pbx=world.settings.pbx.name,
        queue=entry.queue,
        agent_id=agent.id,
        device=agent.device,
        offered_at=world.now,
    )
    call.phase, call.dialling, agent.offered = "ringing", entry.offer.offer_id, entry
    world.write(entry.offer)
    happen(world, agent, "offered", call.id)
    if settings.record:
        start_recording(world, call)
    world.emit(DialAgent(call.session, entry.offer.offer_id, agent.device, ring_s, settings.music))
    world.report("offered", call, agent=agent.id, queue=entry.queue)


def play_music(world: World, entry: Entry) -> None:
    if entry.call.session is not None:
        world.emit(PlayMusic(entry.call.session, world.queues[entry.queue].music))
