"""Actions that wait for their answer: which messages belong to one, and when it is finished.

Promises: an action ends by an explicit rule (its response, the end of its list, or one named event), never by what a
text seems to say. A refusal ends it at once, whatever was expected. Knows no socket and no deadline.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from ccsvc.errors import AmiProtocolError, AmiRefused, PbxError
from ccsvc.wire.ami import AmiMessage

_ACCEPTED = frozenset({"Success", "Follows", "Goodbye"})
_LIST_ENDS = frozenset({"complete", "cancelled"})
_OUTPUT_LINES_TOLD = 3


@dataclass(slots=True)
class Pending:
    """One action that waits. `expect` is "response", "list", or the name of the event that ends it."""

    action: str
    expect: str
    list_limit_count: int
    future: asyncio.Future[list[AmiMessage]]
    items: list[AmiMessage] = field(default_factory=list)

    def owns(self, message: AmiMessage) -> bool:
        """Whether a message with this action's ActionID is its answer; any other is an event like all events."""
        return bool(message.response) or self.expect in ("list", message.event)

    def take(self, message: AmiMessage) -> bool:
        """Take a message that it owns; True if the action is finished."""
        if message.response:
            return self._take_response(message)
        if self.expect != "list":
            return self._finish([message])
        if message.get("EventList").lower() in _LIST_ENDS:
            return self._finish(self.items)
        if len(self.items) >= self.list_limit_count:
            return self.fail(
                AmiProtocolError(f"AMI action {self.action}: a list of more than {self.list_limit_count}")
            )
        self.items.append(message)
        return False

    def fail(self, error: PbxError) -> bool:
        """Finish it with an error."""
        if not self.future.done():
            self.future.set_exception(error)
        return True

    def _take_response(self, message: AmiMessage) -> bool:
        if message.response not in _ACCEPTED:
            told = message.get("Message") or message.response
            return self.fail(AmiRefused(self.action, "; ".join([told, *message.all("Output")[:_OUTPUT_LINES_TOLD]])))
        return self._finish([message]) if self.expect == "response" else False

    def _finish(self, result: list[AmiMessage]) -> bool:
        if not self.future.done():
            self.future.set_result(result)
        return True


class PendingTable:
    """All actions of one link that wait, by ActionID."""

    def __init__(self) -> None:
        self._by_id: dict[str, Pending] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, action_id: str, pending: Pending) -> None:
        self._by_id[action_id] = pending

    def remove(self, action_id: str) -> None:
        """Forget it: answered, late or given up."""
        self._by_id.pop(action_id, None)

    def offer(self, message: AmiMessage) -> bool:
        """Give the message to the action that it answers; False if it answers none."""
        pending = self._by_id.get(message.action_id)
        if pending is None or not pending.owns(message):
            return False
        if pending.take(message):
            self.remove(message.action_id)
        return True

    def fail_all(self, error: Callable[[str], PbxError]) -> None:
        """Finish every action with the error made from its name."""
        for pending in self._by_id.values():
            pending.fail(error(pending.action))
        self._by_id.clear()
