"""Keeping the PBX's own queues in step with who is logged in, so that they work on the day they must.

Promises: what is wanted and what the PBX has are compared, and only the difference is sent; a membership that is
there already, or gone already, is no error. What could not be sent is not forgotten: `renew` asks the PBX again and
brings about everything that is wanted. Members outside `PJSIP/…` and of queues that are not ours are left alone.

Its calls follow each other (one lane of jobs): it is not made for two at a time.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ccsvc.domain.ids import AgentId, DeviceName, QueueName
from ccsvc.errors import AmiRefused, PbxError
from ccsvc.wire.ami import AmiMessage


@dataclass(frozen=True, slots=True)
class Membership:
    queue: str
    interface: str


@dataclass(frozen=True, slots=True)
class Change:
    """One action of AMI and its fields."""

    action: str
    fields: tuple[tuple[str, str], ...]


def changes(
    have: Mapping[Membership, tuple[str, bool]], agent: str, wanted: Mapping[Membership, bool]
) -> Iterable[Change]:
    """The actions that lead from the memberships there are (-> agent, paused) to those wanted of one (-> paused)."""
    for membership, (owner, _) in have.items():
        if owner == agent and membership not in wanted:
            yield Change("QueueRemove", (("Queue", membership.queue), ("Interface", membership.interface)))
    for membership, paused in wanted.items():
        present = have.get(membership)
        flag = "true" if paused else "false"
        where = (("Queue", membership.queue), ("Interface", membership.interface))
        if present is None:
            yield Change("QueueAdd", (*where, ("MemberName", agent), ("Paused", flag)))
        elif present[0] != agent:
            yield Change("QueueRemove", where)
            yield Change("QueueAdd", (*where, ("MemberName", agent), ("Paused", flag)))
        elif present[1] != paused:
            yield Change("QueuePause", (*where, ("Paused", flag)))


class Actions(Protocol):
    """What is needed of an `AmiLink`. Both raise `PbxError`."""

    async def action(self, name: str, fields: Mapping[str, str], /) -> AmiMessage:
        """Do one action."""

    async def listing(self, name: str, /) -> list[AmiMessage]:
        """Ask for a list."""


class SafetyNet:
    """`queues` are ours; members of others are never touched."""

    def __init__(self, link: Actions, queues: Collection[str]) -> None:
        self._link, self._queues = link, frozenset(queues)
        self._have: dict[Membership, tuple[str, bool]] | None = None
        self._wanted: dict[AgentId, dict[Membership, bool]] = {}

    @property
    def in_step(self) -> bool:
        """Whether it is known what the PBX has."""
        return self._have is not None

    def forget(self) -> None:
        """What the PBX has may have changed unseen."""
        self._have = None

    async def put(
        self, agent: AgentId, device: DeviceName | None, queues: Sequence[QueueName], *, paused: bool
    ) -> None:
        """Make the PBX's queues know this agent at this device (None: nowhere). Raises `PbxError`."""
        self._wanted[agent] = {Membership(q, f"PJSIP/{device}"): paused for q in queues} if device else {}
        if self.in_step:
            await self._bring_about(agent)
        else:
            await self.renew()

    async def renew(self) -> None:
        """If it is not in step: ask the PBX for its members, and bring about all that is wanted. Raises `PbxError`.

        Members outlive a daemon and a PBX.
        """
        if self.in_step:
            return
        await self._learn()
        for agent in list(self._wanted):
            await self._bring_about(agent)

    async def _learn(self) -> None:
        rows = await self._link.listing("QueueStatus")
        self._have = dict(_member(row) for row in rows if self._is_ours(row))

    def _is_ours(self, row: AmiMessage) -> bool:
        is_phone = _interface(row).startswith("PJSIP/")
        return row.event == "QueueMember" and is_phone and row.get("Queue") in self._queues

    async def _bring_about(self, agent: AgentId) -> None:
        """A refusal may mean that it was so already: then the second try finds nothing left to do."""
        if await self._apply(agent) is None:
            return
        await self._learn()
        refusal = await self._apply(agent)
        if refusal is not None:
            raise refusal

    async def _apply(self, agent: AgentId) -> AmiRefused | None:
        """Do what differs; one refusal, if there was any."""
        refusal = None
        for change in list(changes(self._have or {}, agent, self._wanted[agent])):
            try:
                await self._link.action(change.action, dict(change.fields))
            except AmiRefused as error:
                refusal = error
            except PbxError:
                self.forget()
                raise
            else:
                self._remember(change)
        return refusal

    def _remember(self, change: Change) -> None:
        if self._have is None:
            return
        fields = dict(change.fields)
        membership = Membership(fields["Queue"], fields["Interface"])
        if change.action == "QueueRemove":
            self._have.pop(membership, None)
        else:
            owner = fields.get("MemberName") or self._have.get(membership, ("", False))[0]
            self._have[membership] = (owner, fields["Paused"] == "true")


def _member(row: AmiMessage) -> tuple[Membership, tuple[str, bool]]:
    owner = row.get("Name") or row.get("MemberName")
    return Membership(row.get("Queue"), _interface(row)), (owner, row.get("Paused") == "1")


def _interface(row: AmiMessage) -> str:
    return row.get("Location") or row.get("Interface")
