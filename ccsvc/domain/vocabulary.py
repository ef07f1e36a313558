"""The glossary's closed word lists. One word, one meaning: see docs/glossary.md and METRICS' definitions."""

from typing import Literal, get_args

QueueExit = Literal[
    "answered",
    "abandoned",
    "timed_out",
    "exited_by_key",
    "callback_requested",
    "left_empty",
    "withdrawn",
    "transferred",
    "system_lost",
]
RefusalReason = Literal["full", "empty", "closed"]
OfferResult = Literal["accepted", "no_answer", "rejected", "unreachable", "caller_gone", "lost_race", "agent_dropped"]
CallOutcome = Literal[
    "answered",
    "abandoned",
    "short_abandoned",
    "self_served",
    "refused",
    "voicemail",
    "callback",
    "system_lost",
    "unknown",
]
EndedBy = Literal["customer", "agent", "third_party", "system"]
AgentStatus = Literal["logged_out", "ready", "paused"]
AgentActivity = Literal["idle", "ringing", "talking", "wrap_up"]
SessionEnd = Literal["logged_out", "moved", "unreachable", "forced", "removed"]
IvrResult = Literal["key", "next", "invalid", "no_input", "failed", "hung_up"]
RecordingVerdict = Literal["ok", "short", "missing", "no_talk"]
SpyMode = Literal["listen", "whisper", "barge"]
DeviceState = Literal["idle", "in_use", "ringing", "on_hold", "busy", "unavailable", "unknown"]

QUEUE_EXITS: tuple[QueueExit, ...] = get_args(QueueExit)
REFUSAL_REASONS: tuple[RefusalReason, ...] = get_args(RefusalReason)
OFFER_RESULTS: tuple[OfferResult, ...] = get_args(OfferResult)
CALL_OUTCOMES: tuple[CallOutcome, ...] = get_args(CallOutcome)
AGENT_GAUGE_STATES = ("idle", "ringing", "talking", "wrap_up", "paused", "logged_out")
