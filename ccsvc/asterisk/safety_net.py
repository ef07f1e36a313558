"""Keeping the PBX's own queues in step with who is logged in, so that they work on the day they must.

Promises: what is wanted and what the PBX has are compared, and only the difference is sent; a membership that is
there already, or gone already, is no error. Members outside `PJSIP/…` and of unknown queues are left alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ccsvc.asterisk.ami_link import AmiLink
from ccsvc.domain.ids import AgentId, DeviceName, QueueName
from ccsvc.errors import AmiRefused


@dataclass(frozen=True, slots=True)
class Membership:
    queue: str
    interface: str


@dataclass(frozen=True, slots=True)
class Change:
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


class SafetyNet:
    def __init__(self, link: AmiLink) -> None:
        self._link = link
        self._have: dict[Membership, tuple[str, bool]] = {}

    async def learn(self) -> None:
        """Ask the PBX for its members: they outlive a daemon and a PBX."""
        rows = await self._link.listing("QueueStatus")
        self._have = {
            Membership(m.get("Queue"), m.get("Location") or m.get("Interface")): (
                m.get("Name") or m.get("MemberName"),
                m.get("Paused") == "1",
            )
            for m in rows
            if m.event == "QueueMember"
        }

    async def put(
        self, agent: AgentId, device: DeviceName | None, queues: Sequence[QueueName], *, paused: bool
    ) -> None:
        """Make the PBX's queues know this agent at this device (None: nowhere)."""
        wanted = {Membership(queue, f"PJSIP/{device}"): paused for queue in queues} if device else {}
        for change in list(changes(self._have, agent, wanted)):
            try:
                await self._link.action(change.action, dict(change.fields))
            except AmiRefused:
                await self.learn()
                continue
            self._remember(change)

    def _remember(self, change: Change) -> None:
        fields = dict(change.fields)
        membership = Membership(fields["Queue"], fields["Interface"])
        if change.action == "QueueRemove":
            self._have.pop(membership, None)
        else:
            owner = fields.get("MemberName") or self._have.get(membership, ("", False))[0]
            self._have[membership] = (owner, fields["Paused"] == "true")
