"""Which of Asterisk's modules ccsvc can't do without, and how to find out that one is not there.

Promises: asks with the least that the daemon's AMI user may do: `Getvar` of `IFMODULE(x)` (class `call`), which runs
nothing and changes nothing. `ModuleCheck` would need the class `system`, and with it the right to load any module.
An Asterisk without `func_module` can't say: that is an answer of its own. A module that goes while the daemon runs
shows itself by `EXEC`, which then answers -2.
"""

from collections.abc import Mapping
from types import MappingProxyType

from ccsvc.asterisk.ami_link import AmiLink
from ccsvc.errors import ModuleMissing

NEEDED: Mapping[str, str] = MappingProxyType(
    {
        "res_agi.so": "the callers' sessions",
        "app_dial.so": "ringing agents",
        "app_read.so": "asking callers and agents for keys",
        "app_playback.so": "announcements",
        "res_musiconhold.so": "music for those who wait",
        "app_mixmonitor.so": "recording",
        "app_chanspy.so": "listening in",
        "app_queue.so": "the safety net when the daemon is away",
        "chan_pjsip.so": "phones and trunks",
        "res_manager_devicestate.so": "knowing which phones are free",
    }
)
"""Module -> what it is needed for. The whole list for a PBX of ours is `asterisk-conf/ccsvc/modules.conf`."""

TELLS = "func_module.so"
"""The module that tells about modules."""

NO_SUCH_APPLICATION = -2
"""The result of `EXEC` for an application that is not there."""


async def missing_modules(link: AmiLink) -> tuple[ModuleMissing, ...] | None:
    """Every needed module that does not run, in the order of `NEEDED`; None: this Asterisk can't say.

    Raises `PbxError`.
    """
    if not await _runs(link, TELLS):
        return None
    return tuple([ModuleMissing(name, use) for name, use in NEEDED.items() if not await _runs(link, name)])


def missing_application(application: str) -> ModuleMissing:
    """The error for an `EXEC` that answered `NO_SUCH_APPLICATION`."""
    module = f"app_{application.lower()}.so"
    return ModuleMissing(module, NEEDED.get(module, f"the application {application}"))


async def _runs(link: AmiLink, module: str) -> bool:
    answer = await link.action("Getvar", {"Variable": f"IFMODULE({module})"})
    return answer.get("Value") == "1"
