"""The PBX apart from the callers' sessions: two manager links, the event stream, and looks at what is really there.

Promises: after every (re)connect the switch is asked what it carries before anything is offered to anybody; what was
seen is only told if the event stream was not cut meanwhile, else it is looked again; a look that fails is tried again
by a later heartbeat. Events are translated and posted in the order in which they came. Actions run on a link of their
own, so that an event storm does not delay them.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta

from structlog.stdlib import BoundLogger

from ccsvc.app.clock import Clock
from ccsvc.app.jobs import Jobs
from ccsvc.app.ports import Inbox
from ccsvc.asterisk.ami_link import AmiLink
from ccsvc.asterisk.modules import TELLS, missing_modules
from ccsvc.asterisk.safety_net import SafetyNet
from ccsvc.asterisk.translate import device_state, live_channel, number, translate
from ccsvc.domain.events import SwitchLost, SwitchSeen
from ccsvc.domain.ids import AgentId, ChannelId, DeviceName, QueueName
from ccsvc.errors import AmiDown, ModuleMissing
from ccsvc.settings import PbxSettings
from ccsvc.wire.ami import AmiMessage

HEARTBEAT_VARIABLE = "CCSVC_ALIVE"
STAMP_DEADLINE_S = 2.0


class AsteriskSwitch:
    """Implements the `Switch` port. `queues` are the names of ours."""

    def __init__(
        self,
        pbx: PbxSettings,
        *,
        queues: Collection[str],
        inbox: Inbox,
        jobs: Jobs,
        clock: Clock,
        log: BoundLogger,
    ) -> None:
        self._inbox, self._jobs, self._clock, self._log = inbox, jobs, clock, log
        self._stream = self._seen_stream = 0
        self._booted_at: datetime | None = None
        self._lost_at: datetime | None = clock()
        self._gaps_s = self._told_gap_s = 0.0
        self.missing: tuple[ModuleMissing, ...] = ()
        """Modules that this Asterisk lacks, as far as it could say."""
        self._events = self._link(pbx, self._on_event, self._on_events_up, self._on_events_down, events=True)
        self._actions = self._link(pbx, lambda _: None, self._on_actions_up, lambda _: None, events=False)
        self._net = SafetyNet(self._actions, queues)

    @staticmethod
    def _link(
        pbx: PbxSettings,
        on_event: Callable[[AmiMessage], None],
        on_up: Callable[[], None],
        on_down: Callable[[str], None],
        *,
        events: bool,
    ) -> AmiLink:
        return AmiLink(
            host=pbx.host,
            port=pbx.ami_port,
            username=pbx.ami_username,
            secret=pbx.ami_secret,
            on_event=on_event,
            on_up=on_up,
            on_down=on_down,
            events=events,
        )

    async def start(self) -> None:
        """Connect both links; a PBX that is away is waited for in the background. Raises `AmiLoginRefused`."""
        await self._actions.start(wait=False)
        await self._events.start(wait=False)

    async def close(self) -> None:
        await self._events.close()
        await self._actions.close()

    @property
    def connected(self) -> bool:
        return self._events.connected and self._actions.connected

    @property
    def trouble(self) -> str:
        """Why it is not connected; empty: it is."""
        down = [link for link in (self._events, self._actions) if not link.connected]
        return down[0].reason if down else ""

    @property
    def gap_s(self) -> float:
        """Seconds without an event stream since this began, a gap that lasts included. Never goes back."""
        now_s = 0.0 if self._lost_at is None else (self._clock() - self._lost_at).total_seconds()
        self._told_gap_s = max(self._told_gap_s, self._gaps_s + now_s)
        return self._told_gap_s

    async def hang_up(self, channel: ChannelId) -> None:
        await self._actions.action("Hangup", {"Channel": channel, "Cause": "16"})

    async def set_safety_net(
        self, agent: AgentId, device: DeviceName | None, queues: Sequence[QueueName], *, paused: bool
    ) -> None:
        await self._net.put(agent, device, queues, paused=paused)

    async def stamp_alive(self, epoch_s: int) -> None:
        stamp = {"Variable": HEARTBEAT_VARIABLE, "Value": str(epoch_s)}
        await self._actions.action("Setvar", stamp, deadline_s=STAMP_DEADLINE_S)

    async def look(self) -> None:
        """Ask for channels and device states and post what is there. Raises `PbxError` when the switch is away."""
        while not await self._look_at(self._stream):
            self._log.info("the event stream was cut during a look at the switch: looking again")
        if not self._net.in_step:
            self._jobs.in_order("safety-net", self._net.renew)

    async def _look_at(self, stream: int) -> bool:
        """One look; False if the stream of events is not the one any more that it belongs to."""
        asked_at = self._clock()
        channels = await self._actions.listing("CoreShowChannels")
        devices = await self._actions.listing("DeviceStateList")
        if not self._events.connected:
            raise AmiDown("CoreShowChannels", "there is no event stream to go with what was seen", sent=True)
        if stream != self._stream:
            return False
        found = [device_state(m.get("Device"), m.get("State")) for m in devices if m.event == "DeviceStateChange"]
        self._inbox.post(
            SwitchSeen(
                at=asked_at,
                channels=tuple(live_channel(m) for m in channels if m.event == "CoreShowChannel"),
                devices=tuple(one for one in found if one is not None),
                fresh=stream != self._seen_stream,
                booted_at=self._booted_at,
            )
        )
        self._seen_stream = stream
        return True

    def _on_event(self, message: AmiMessage) -> None:
        if message.event == "FullyBooted":
            self._learn_boot(message)
            return
        event = translate(message, self._clock())
        if event is not None:
            self._inbox.post(event)

    def _learn_boot(self, message: AmiMessage) -> None:
        uptime_s = number(message.get("Uptime"))
        if uptime_s is not None:
            self._booted_at = self._clock() - timedelta(seconds=uptime_s + 1)

    def _on_events_up(self) -> None:
        if self._lost_at is not None:
            self._gaps_s += max(0.0, (self._clock() - self._lost_at).total_seconds())
        self._lost_at = None
        self._stream += 1
        self._begin()

    def _on_actions_up(self) -> None:
        self._net.forget()
        self._begin()

    def _on_events_down(self, reason: str) -> None:
        self._lost_at = self._lost_at or self._clock()
        self._inbox.post(SwitchLost(self._clock(), reason))

    def _begin(self) -> None:
        """As soon as both links are up."""
        if self.connected:
            self._jobs.once("look", self.look)
            self._jobs.once("modules", self._check_modules)

    async def _check_modules(self) -> None:
        missing = await missing_modules(self._actions)
        if missing is None:
            self._log.warning("this Asterisk can't say which modules it runs", lacks=TELLS)
        self.missing = missing or ()
        for error in self.missing:
            self._log.error("module missing", code=error.code, module=error.module, reason=str(error))
