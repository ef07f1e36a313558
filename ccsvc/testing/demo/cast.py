"""Who plays in the demo: the example configuration, with names that callers and agents could have.

Promises: the contact centre is the one of `ccsvc.example.toml`, read and checked as an operator's own would be; only
names, caller ids and times are changed, so that a pass takes seconds and not minutes. Every phone has a tone of its
own. It knows neither a PBX nor a phone.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from ccsvc.config.load import load
from ccsvc.config.secrets import ensure_secrets
from ccsvc.errors import CcsvcError
from ccsvc.settings import AgentSettings, DeviceSettings, Language, QueueSettings, Settings
from ccsvc.testing.tones import PALETTE

EXAMPLE = Path(__file__).resolve().parents[3] / "ccsvc.example.toml"

RING_S = 5.0
WRAP_UP_S = 3.0
SHORT_ABANDON_S = 2.0
_MAX_WAIT_S = 120.0
_TARGET_S = 10.0


class ExampleMissing(CcsvcError):  # noqa: N818  named for what happened, as in ccsvc.errors
    """The demo plays with the example configuration of a checkout."""

    code = "example_missing"


@dataclass(frozen=True, slots=True)
class Caller:
    """A telephone outside: `number` is what the centre sees, `did` what they dial."""

    device: str
    name: str
    number: str
    did: str
    tone_hz: int


@dataclass(frozen=True, slots=True)
class Staff:
    """An agent or a supervisor at their desk's telephone."""

    number: str
    name: str
    language: Language
    tone_hz: int

    @property
    def device(self) -> str:
        return f"d{self.number}"


_DIDS: dict[str, str] = {"fa": "2001", "ar": "2002", "en": "2003"}
_CALLERS = (
    ("fa", "کتاب‌فروشی آفتاب"),
    ("ar", "مكتبة النور"),
    ("en", "Harbour Books"),
    ("fa", "داروخانهٔ مهر"),
    ("ar", "مخبز السلام"),
    ("en", "Green Garden"),
    ("fa", "گل‌فروشی بهار"),
    ("ar", "مطعم الواحة"),
)
_AGENTS: tuple[tuple[str, Language, str], ...] = (
    ("101", "fa", "نرگس"),
    ("102", "fa", "یاسمن"),
    ("103", "ar", "ريحان"),
    ("104", "ar", "ياقوت"),
    ("105", "en", "Rowan"),
    ("106", "en", "Hazel"),
)

CALLERS: tuple[Caller, ...] = tuple(
    Caller(f"c{n}", name, f"0912000{n}1{n}", _DIDS[language], PALETTE[n])
    for n, (language, name) in enumerate(_CALLERS, 1)
)
"""c1 to c8, each with a name and a number that no other has."""

AGENTS: tuple[Staff, ...] = tuple(
    Staff(number, name, language, PALETTE[10 + n]) for n, (number, language, name) in enumerate(_AGENTS)
)
SUPERVISOR = Staff("901", "Supervisor 901", "en", PALETTE[20])
"""May hear every agent."""


def demo_settings(folder: Path) -> Settings:
    """The contact centre, with its secrets in `folder`. Raises `ExampleMissing`, `InvalidConfigError`."""
    if not EXAMPLE.is_file():
        raise ExampleMissing(f"{EXAMPLE} is not there: run the demo from a checkout of ccsvc, as with `make demo`")
    config = folder / "ccsvc.toml"
    shutil.copyfile(EXAMPLE, config)
    ensure_secrets(config)
    settings = load(config, {})
    names = {agent.number: agent for agent in AGENTS}
    return replace(
        settings,
        queue=tuple(map(_quick, settings.queue)),
        agent=tuple(_named(agent, names[agent.number]) for agent in settings.agent),
        device=tuple(map(_with_caller_id, settings.device)),
    )


def _quick(queue: QueueSettings) -> QueueSettings:
    return replace(
        queue,
        ring_timeout_s=RING_S,
        retry_s=RING_S,
        wrap_up_s=WRAP_UP_S,
        short_abandon_s=SHORT_ABANDON_S,
        max_wait_s=_MAX_WAIT_S,
        target_s=_TARGET_S,
    )


def _named(agent: AgentSettings, staff: Staff) -> AgentSettings:
    return replace(agent, name=staff.name, language=staff.language)


def _with_caller_id(device: DeviceSettings) -> DeviceSettings:
    caller = next((c for c in CALLERS if c.device == device.name), None)
    return replace(device, caller_id=f'"{caller.name}" <{caller.number}>') if caller else device
