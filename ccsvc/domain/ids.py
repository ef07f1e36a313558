"""Identities. A `NewType` each, so that an agent's number is never passed where a device is meant."""

from typing import NewType

CallId = NewType("CallId", str)
"""`<pbx>/<linkedid>`: the same for the live stream and for the PBX's journal, whoever saw the call first."""

EntryId = NewType("EntryId", str)
"""`<call>/q<n>`: the n-th stay of a call in a queue."""

OfferId = NewType("OfferId", str)
"""`<entry>/o<n>`: the n-th ring of that stay."""

SegmentId = NewType("SegmentId", str)
"""`<call>/s<n>`: the n-th agent's handling of that call."""

AgentId = NewType("AgentId", str)
DeviceName = NewType("DeviceName", str)
QueueName = NewType("QueueName", str)
SupervisorId = NewType("SupervisorId", str)
ChannelId = NewType("ChannelId", str)
"""Asterisk's uniqueid: one channel of one PBX."""

SessionId = NewType("SessionId", int)
"""One AGI session of this daemon's life."""


def call_id(pbx: str, linkedid: str) -> CallId:
    return CallId(f"{pbx}/{linkedid}")


def entry_id(call: CallId, n: int) -> EntryId:
    return EntryId(f"{call}/q{n}")


def offer_id(entry: EntryId, n: int) -> OfferId:
    return OfferId(f"{entry}/o{n}")


def segment_id(call: CallId, n: int) -> SegmentId:
    return SegmentId(f"{call}/s{n}")
