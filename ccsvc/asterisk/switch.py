"""The PBX apart from the callers' sessions: two manager links, the event stream, and looks at what is really there.

Promises: after every (re)connect the switch is asked what it carries before anything is offered to anybody; a look
that fails is tried again by the next heartbeat; events are translated and posted in the order in which they came.
Actions run on a link of their own, so that an event storm does not delay them.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from structlog.stdlib import BoundLogger

from ccsvc.app.clock import Clock
from ccsvc.app.jobs import Jobs
from ccsvc.app.ports import Inbox
from ccsvc.asterisk.ami_link import AmiLink
from ccsvc.asterisk.safety_net import SafetyNet
from ccsvc.asterisk.translate import device_state, live_channel, translate
from ccsvc.domain.events import SwitchLost, SwitchSeen
from ccsvc.domain.ids import AgentId, ChannelId, DeviceName, QueueName
from ccsvc.errors import PbxError
from ccsvc.settings import PbxSettings
from ccsvc.wire.ami import AmiMessage

HEARTBEAT_VARIABLE = "CCSVC_ALIVE"


class AsteriskSwitch:
    def __init__(self, pbx: PbxSettings, *, inbox: Inbox, jobs: Jobs, clock: Clock, log: BoundLogger) -> None:
        self._inbox, self._jobs, self._clock, self._log = inbox, jobs, clock, log
        self._fresh = True
        self._booted_at: datetime | None = None
        self._lost_at: datetime | None = clock()
        self.gap_s = 0.0
        """Seconds without an event stream since the daemon started, ended gaps only."""
        self._events = self._link(pbx, self._on_event, self._on_events_up, self._on_events_down, events=True)
        self._actions = self._link(pbx, lambda _: None, self._on_actions_up, lambda _: None, events=False)
        self._net = SafetyNet(self._actions)

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

    async def hang_up(self, channel: ChannelId) -> None:
        await self._actions.action("Hangup", {"Channel": channel, "Cause": "16"})

    async def set_safety_net(
        self, agent: AgentId, device: DeviceName | None, queues: Sequence[QueueName], *, paused: bool
    ) -> None:
        await self._net.put(agent, device, queues, paused=paused)

    async def stamp_alive(self, epoch_s: int) -> None:
        await self._actions.action("Setvar", {"Variable": HEARTBEAT_VARIABLE, "Value": str(epoch_s)}, deadline_s=2.0)

    async def look(self) -> None:
        """Ask for channels and device states and post what is there. Raises `PbxError` when the switch is away."""
        asked_at, fresh = self._clock(), self._fresh
        channels = await self._actions.listing("CoreShowChannels")
        devices = await self._actions.listing("DeviceStateList")
        if fresh:
            await self._net.learn()
        found = [device_state(m.get("Device"), m.get("State")) for m in devices if m.event == "DeviceStateChange"]
        self._inbox.post(
            SwitchSeen(
                at=asked_at,
                channels=tuple(live_channel(m) for m in channels if m.event == "CoreShowChannel"),
                devices=tuple(one for one in found if one is not None),
                fresh=fresh,
                booted_at=self._booted_at,
            )
        )
        self._fresh = False

    def _on_event(self, message: AmiMessage) -> None:
        if message.event == "FullyBooted":
            self._learn_boot(message)
            return
        event = translate(message, self._clock())
        if event is not None:
            self._inbox.post(event)

    def _learn_boot(self, message: AmiMessage) -> None:
        uptime = message.get("Uptime")
        if uptime.isdecimal():
            self._booted_at = self._clock() - timedelta(seconds=int(uptime) + 1)

    def _on_events_up(self) -> None:
        if self._lost_at is not None:
            self.gap_s += max(0.0, (self._clock() - self._lost_at).total_seconds())
        self._lost_at = None
        self._fresh = True
        self._look_soon()

    def _on_actions_up(self) -> None:
        self._look_soon()

    def _on_events_down(self, reason: str) -> None:
        self._lost_at = self._lost_at or self._clock()
        self._inbox.post(SwitchLost(self._clock(), reason))

    def _look_soon(self) -> None:
        if self._events.connected and self._actions.connected:
            self._jobs.once("look", self._look_once)

    async def _look_once(self) -> None:
        try:
            await self.look()
        except PbxError as error:
            self._log.warning("the switch could not be looked at", code=error.code, reason=str(error))
