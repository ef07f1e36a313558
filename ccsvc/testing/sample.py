"""A small contact centre for tests and the demo: three queues, six agents, three supervisors, eight callers.

Promises: the same every time, consistent, and with secrets that are none. Who sits where: agent 10x has device d10x,
supervisor 90x device d90x; callers have c1 to c8. It does not know ports or folders: `ccsvc.testing.pbx` sets those.
"""

from ccsvc.settings import (
    AgentSettings,
    DeviceSettings,
    DidSettings,
    IvrNodeSettings,
    IvrSettings,
    Language,
    PbxSettings,
    QueueSettings,
    Settings,
    SupervisorSettings,
)

QUEUES = ("sales", "support", "billing")
AGENTS: dict[str, tuple[str, ...]] = {
    "101": ("sales", "support"),
    "102": ("sales",),
    "103": ("support",),
    "104": ("support", "billing"),
    "105": ("billing",),
    "106": ("sales", "support", "billing"),
}
SUPERVISORS = {"901": ("sales",), "902": ("support", "billing"), "903": QUEUES}
CALLERS = tuple(f"c{number}" for number in range(1, 9))
PIN = "4711"
MENU_DID = "1000"
QUEUE_DIDS = {"1001": "sales", "1002": "support", "1003": "billing"}
_LANGUAGES: tuple[Language, ...] = ("fa", "ar", "en")


def device_secret(name: str) -> str:
    """The SIP password of a device of the sample."""
    return f"phone-{name}"


def sample_settings() -> Settings:
    """The whole tree, as if read from a file."""
    return Settings(
        pbx=PbxSettings(name="sample", ami_secret="sample-manager"),
        queue=tuple(QueueSettings(name=name, ring_timeout_s=8.0, wrap_up_s=2.0) for name in QUEUES),
        agent=tuple(_agent(number, queues) for number, queues in AGENTS.items()),
        device=tuple(_device(name, number) for name, number in _devices().items()),
        supervisor=tuple(_supervisor(number, queues) for number, queues in SUPERVISORS.items()),
        did=(_menu_did(), *(_queue_did(number, queue) for number, queue in QUEUE_DIDS.items())),
        ivr={"main": _menu()},
    )


def _devices() -> dict[str, str]:
    staff = {f"d{number}": number for number in (*AGENTS, *SUPERVISORS)}
    return staff | {name: f"0912000000{name[1:]}" for name in CALLERS}


def _device(name: str, number: str) -> DeviceSettings:
    return DeviceSettings(name=name, secret=device_secret(name), caller_id=f'"{name.upper()}" <{number}>')


def _agent(number: str, queues: tuple[str, ...]) -> AgentSettings:
    language = _LANGUAGES[int(number) % len(_LANGUAGES)]
    return AgentSettings(number=number, name=f"Agent {number}", pin=PIN, queues=queues, language=language)


def _supervisor(number: str, queues: tuple[str, ...]) -> SupervisorSettings:
    return SupervisorSettings(number=number, name=f"Supervisor {number}", device=f"d{number}", pin=PIN, queues=queues)


def _menu_did() -> DidSettings:
    return DidSettings(number=MENU_DID, target="ivr:main", safety_queue="support")


def _queue_did(number: str, queue: str) -> DidSettings:
    return DidSettings(number=number, target=f"queue:{queue}", safety_queue=queue)


def _menu() -> IvrSettings:
    """One node: 1 sales, 2 support, 3 billing; silence leads to support."""
    text = "Press one for sales, two for support, three for billing."
    keys = {str(number): f"queue:{queue}" for number, queue in enumerate(QUEUES, start=1)}
    return IvrSettings(
        start="welcome",
        node={"welcome": IvrNodeSettings(say={"en": text}, keys=keys, on_failure="queue:support")},
    )
