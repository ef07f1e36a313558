"""The bodies of `/api/v1`: what of the centre's picture is shown, and how.

Promises: caller numbers keep their last two digits (see `ccsvc.web`), callers' names are as they were sent; instants
are ISO 8601 in UTC, durations seconds. Every body says of when it is and whether the PBX's events arrive; if they
don't, it may be old.
"""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from ccsvc.domain.view import AgentView, CallView, CentreView, QueueView

Masked = Annotated[str, Meta(description="A caller's number: the last two digits only, as in `•••34`.")]
Seconds = Annotated[float, Meta(ge=0, description="Seconds.")]


class Waiting(Struct, frozen=True, kw_only=True):
    """One caller in line."""

    call_id: str
    caller: Masked
    caller_name: Annotated[str, Meta(description="As the caller sent it: untrusted text.")]
    since: datetime
    position: Annotated[int, Meta(description="1 is next.")]
    ringing_agent: str | None


class Queue(Struct, frozen=True, kw_only=True):
    """One queue now, and what it has counted. entered = the sum of exits + waiting."""

    name: str
    waiting: tuple[Waiting, ...]
    longest_wait_s: Seconds
    agents: Annotated[dict[str, int], Meta(description="Members by what they do: idle, ringing, talking, …")]
    entered: int
    exits: dict[str, int]
    unexplained: Annotated[int, Meta(description="entered - exits - waiting: not 0 is a fault of ccsvc.")]


class Agent(Struct, frozen=True, kw_only=True):
    """One agent: what they chose (`status`) and what calls do to them (`activity`)."""

    agent_id: str
    name: str
    status: str
    activity: str
    reason: Annotated[str, Meta(description="Of a pause; else empty.")]
    since: datetime
    device: str | None
    device_state: str
    call_id: str | None
    queues: tuple[str, ...]


class Call(Struct, frozen=True, kw_only=True):
    """One call that is not over."""

    call_id: str
    caller: Masked
    caller_name: Annotated[str, Meta(description="As the caller sent it: untrusted text.")]
    did: str
    language: str
    started_at: datetime
    phase: str
    where: Annotated[str, Meta(description="The menu's node, the queue or the agent.")]
    agent_id: str | None


class _Picture(Struct, frozen=True, kw_only=True):
    at: Annotated[datetime, Meta(description="The instant of this picture.")]
    pbx: str
    connected: Annotated[bool, Meta(description="False: the PBX's events don't arrive, the picture may be old.")]


class Queues(_Picture, frozen=True, kw_only=True):
    """All queues, in the order of the configuration."""

    queues: tuple[Queue, ...]


class Agents(_Picture, frozen=True, kw_only=True):
    """All agents, in the order of the configuration."""

    agents: tuple[Agent, ...]


class Calls(_Picture, frozen=True, kw_only=True):
    """All calls that are not over."""

    calls: tuple[Call, ...]


class ErrorDetail(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`code` is stable, `message` is for a person, `path` is what was asked for."""

    code: str
    message: str
    path: str | None = None


class ErrorBody(Struct, frozen=True, kw_only=True):
    """What every error of the API looks like."""

    error: ErrorDetail


def queues_body(view: CentreView) -> Queues:
    return Queues(at=view.at, pbx=view.pbx, connected=view.connected, queues=tuple(map(_queue, view.queues)))


def agents_body(view: CentreView) -> Agents:
    return Agents(at=view.at, pbx=view.pbx, connected=view.connected, agents=tuple(map(_agent, view.agents)))


def calls_body(view: CentreView) -> Calls:
    return Calls(at=view.at, pbx=view.pbx, connected=view.connected, calls=tuple(map(_call, view.calls)))


def masked(number: str) -> str:
    """The last two digits, or none of a number that has no more; empty stays empty."""
    digits = [character for character in number if character.isdigit()]
    return "•••" + ("".join(digits[-2:]) if len(digits) > 2 else "") if number else ""


def _queue(queue: QueueView) -> Queue:
    return Queue(
        name=queue.name,
        waiting=tuple(
            Waiting(
                call_id=caller.call_id,
                caller=masked(caller.caller),
                caller_name=caller.caller_name,
                since=caller.since,
                position=caller.position,
                ringing_agent=caller.ringing_agent,
            )
            for caller in queue.waiting
        ),
        longest_wait_s=queue.longest_wait_s,
        agents=dict(queue.agents),
        entered=queue.entered,
        exits=dict(queue.exits),
        unexplained=queue.unexplained,
    )


def _agent(agent: AgentView) -> Agent:
    return Agent(
        agent_id=agent.agent_id,
        name=agent.name,
        status=agent.status,
        activity=agent.activity,
        reason=agent.reason,
        since=agent.since,
        device=agent.device,
        device_state=agent.device_state,
        call_id=agent.call_id,
        queues=agent.queues,
    )


def _call(call: CallView) -> Call:
    return Call(
        call_id=call.call_id,
        caller=masked(call.caller),
        caller_name=call.caller_name,
        did=call.did,
        language=call.language,
        started_at=call.started_at,
        phase=call.phase,
        where=call.where,
        agent_id=call.agent_id,
    )
