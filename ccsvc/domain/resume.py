"""What rides on the customer's channel, so that a next daemon finds the caller's place.

Promises: `encode` gives one word without commas, quotes or blanks (it travels through the dialplan as an AGI
argument), and `decode(encode(x)) == x`. Anything else decodes to None: the channel variable is ours, but a word
from outside is never trusted to be whole. The caller's name and number are not in it.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ccsvc.domain.commands import RideAlong
from ccsvc.domain.ids import CallId

if TYPE_CHECKING:
    from ccsvc.domain.world import Call, World

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WORD = re.compile(
    r"v1\|(?P<call>[A-Za-z0-9_./:-]{1,120})\|(?P<started>\d{1,18})\|(?P<language>fa|ar|en)"
    r"\|(?P<ivr>[a-z0-9_-]{0,32})\|(?P<node>[a-z0-9_-]{0,32})\|(?P<queue>[a-z0-9_-]{0,32})"
    r"\|(?P<entry>\d{1,6})\|(?P<entered>\d{1,18})\|(?P<priority>-?\d{1,4})\|(?P<served>[01])",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call stands: in a menu's node, or in a queue since an instant; `served`: nothing is left to be done.

    `started_at` and `entered_at` are aware UTC instants from 1970 to 2286, kept to the microsecond.
    """

    call: CallId
    started_at: datetime
    language: str
    ivr: str = ""
    node: str = ""
    queue: str = ""
    entry_n: int = 0
    entered_at: datetime = EPOCH
    priority: int = 0
    served: bool = False


def encode(place: Place) -> str:
    return "|".join(
        (
            "v1",
            place.call,
            str(_micros(place.started_at)),
            place.language,
            place.ivr,
            place.node,
            place.queue,
            str(place.entry_n),
            str(_micros(place.entered_at)),
            str(place.priority),
            "1" if place.served else "0",
        )
    )


def decode(word: str) -> Place | None:
    found = _WORD.fullmatch(word)
    if found is None:
        return None
    return Place(
        call=CallId(found["call"]),
        started_at=_instant(found["started"]),
        language=found["language"],
        ivr=found["ivr"],
        node=found["node"],
        queue=found["queue"],
        entry_n=int(found["entry"]),
        entered_at=_instant(found["entered"]),
        priority=int(found["priority"]),
        served=found["served"] == "1",
    )


def _micros(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


def _instant(micros: str) -> datetime:
    return EPOCH + timedelta(microseconds=min(int(micros), 10**16))


def ride(world: "World", call: "Call") -> None:
    """Write the call's place onto its channel, and take off it what was said of an earlier dial or transfer."""
    if call.session is None:
        return
    place = place_of(call)
    variables = [("CCSVC_STATE", encode(place)), ("CCSVC_QUEUE", place.queue)]
    variables += [("DIALSTATUS", ""), ("BLINDTRANSFER", "")]
    if call.entry is not None:
        variables.append(("CCSVC_PRIO", str(max(0, place.priority))))
    world.emit(RideAlong(call.session, tuple(variables)))


def place_of(call: "Call") -> Place:
    """Where the call stands now."""
    row = call.entry.row if call.entry is not None else None
    return Place(
        call=call.id,
        started_at=call.row.started_at,
        language=call.language,
        ivr=call.ivr,
        node=call.node,
        queue=row.queue if row else "",
        entry_n=int(row.entry_id.rpartition("q")[2]) if row else 0,
        entered_at=row.entered_at if row else EPOCH,
        priority=row.priority if row else 0,
        served=call.phase == "after",
    )
