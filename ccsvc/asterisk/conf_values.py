"""From settings to the words that go into the templates: every value checked, every list written out.

Promises: each placeholder of `asterisk-conf/` and `dialplan/` has its value here, and none gets there unchecked
(`conf_grammar`). What a stanza looks like is the template's business; what is decided here is only what it says.
"""

import ipaddress
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ccsvc.app.ports_speech import PromptPaths
from ccsvc.asterisk import conf_grammar as grammar
from ccsvc.errors import ConfigError
from ccsvc.resources import resource_dir
from ccsvc.settings import DeviceSettings, DidSettings, PbxSettings, QueueSettings, Settings, TrunkSettings

RETRY_S = 0.25  # how often a caller without a daemon looks for one,
GIVE_UP_S = 5  # and for how long, until the PBX's own queue has them
MAX_TRIES = int(GIVE_UP_S / RETRY_S)

_PLACE = re.compile(r"@([a-z][a-z0-9_]*)@")


@dataclass(frozen=True, slots=True)
class Sounds:
    """What the PBX itself plays: `music_dir` is absolute, `system_trouble` paths without extension, maybe none."""

    music_dir: str
    system_trouble: tuple[str, ...]


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with each `@placeholder@` replaced. What is put in is not looked at again. Raises `KeyError`."""
    return _PLACE.sub(lambda place: values[place[1]], template)


def all_values(settings: Settings, sounds: Sounds) -> dict[str, str]:
    """Every placeholder's value. Raises `ConfigError`."""
    return {
        **_pbx_values(settings.pbx),
        **_manager_values(settings.pbx),
        **_sip_values(settings),
        **_queue_values(settings, sounds),
        **_dialplan_values(settings, sounds),
    }


def sounds_for(settings: Settings, prompts: PromptPaths | None, music_dir: Path | None) -> Sounds:
    """The paths of music and of `system_trouble` in the languages of those who dial feature codes."""
    default_music = Path(settings.pbx.data_dir) / "moh"
    spoken = [agent.language for agent in settings.agent] + [each.language for each in settings.supervisor]
    languages = list(dict.fromkeys(spoken)) or ["en"]
    paths = [prompts.path("system_trouble", language) for language in languages] if prompts else []
    return Sounds(
        grammar.folder("music_dir", str(music_dir or default_music)),
        tuple(grammar.folder("prompts.system_trouble", path) for path in paths),
    )


def _pbx_values(pbx: PbxSettings) -> dict[str, str]:
    folders = ("config_dir", "modules_dir", "data_dir", "state_dir", "spool_dir", "log_dir", "run_dir")
    if pbx.rtp_first_port >= pbx.rtp_last_port:
        raise ConfigError("pbx.rtp_last_port", f"must be above rtp_first_port, found {pbx.rtp_last_port}")
    return {
        "pbx_name": grammar.name("pbx.name", pbx.name),
        "rtp_first_port": grammar.port("pbx.rtp_first_port", pbx.rtp_first_port),
        "rtp_last_port": grammar.port("pbx.rtp_last_port", pbx.rtp_last_port),
        **{key: grammar.folder(f"pbx.{key}", getattr(pbx, key)) for key in folders},
    }


def _manager_values(pbx: PbxSettings) -> dict[str, str]:
    ami_host = grammar.private_address("pbx.host", pbx.host)
    daemon_host = grammar.private_address("pbx.agi_host", pbx.agi_host)
    return {
        "ami_host": ami_host,
        "ami_port": grammar.port("pbx.ami_port", pbx.ami_port),
        "ami_username": grammar.name("pbx.ami_username", pbx.ami_username),
        "ami_secret": grammar.secret("pbx.ami_secret", pbx.ami_secret),
        "ami_permits": _join(_stanza("ami-permit", network=each) for each in _clients(ami_host, daemon_host)),
        "agi_host": f"[{daemon_host}]" if ":" in daemon_host else daemon_host,
        "agi_port": grammar.port("pbx.agi_port", pbx.agi_port),
    }


def _clients(*hosts: str) -> list[str]:
    """Who may log in: the daemon's host, and this one (whose address, on loopback, can be any of 127/8)."""
    found = [ipaddress.ip_address(host) for host in hosts]
    networks = ["127.0.0.0/8" if each.version == 4 else "::1/128" for each in found if each.is_loopback]
    networks += [f"{each}/{each.max_prefixlen}" for each in found if not each.is_loopback]
    return list(dict.fromkeys(networks))


def _sip_values(settings: Settings) -> dict[str, str]:
    pbx = settings.pbx
    address = grammar.address("pbx.sip_bind", pbx.sip_bind)
    bind = f"[{address}]" if ":" in address else address
    bind += ":" + grammar.port("pbx.sip_port", pbx.sip_port)
    tcp = any(device.transport == "tcp" for device in settings.device)
    media = _media(pbx.media_address)
    return {
        "sip_bind": bind,
        "transport_tcp": _stanza("transport-tcp", sip_bind=bind) if tcp else "",
        "devices": _join(_device(device, media) for device in settings.device),
        "trunks": _join(_trunk(trunk, media) for trunk in settings.trunk),
        "trunk_contexts": _join(_stanza("trunk-context", dialplan=True, name=trunk.name) for trunk in settings.trunk),
    }


def _media(media_address: str) -> str:
    if not media_address:
        return ""
    return _stanza("media", media_address=grammar.address("pbx.media_address", media_address))


def _device(device: DeviceSettings, media: str) -> str:
    path = f"device.{grammar.name('device.name', device.name)}"
    caller_id = ""
    if device.caller_id:
        caller_id = _stanza("caller-id", caller_id=grammar.text(f"{path}.caller_id", device.caller_id))
    return _stanza(
        "device",
        name=device.name,
        transport=_one_of(f"{path}.transport", device.transport, ("udp", "tcp")),
        secret=grammar.secret(f"{path}.secret", device.secret),
        media=media,
        caller_id=caller_id,
    )


def _trunk(trunk: TrunkSettings, media: str) -> str:
    path = f"trunk.{grammar.name('trunk.name', trunk.name)}"
    if not trunk.match:
        raise ConfigError(f"{path}.match", "is empty: name the addresses that the provider calls from")
    codecs = [_one_of(f"{path}.codecs", codec, ("ulaw", "alaw", "g722")) for codec in trunk.codecs]
    return _stanza(
        "trunk",
        name=trunk.name,
        host=grammar.host_and_port(f"{path}.host", trunk.host),
        codecs=",".join(codecs),
        media=media,
        matches=_join(_stanza("trunk-match", match=grammar.network(f"{path}.match", each)) for each in trunk.match),
    )


def _queue_values(settings: Settings, sounds: Sounds) -> dict[str, str]:
    lowest = min((queue.priority for queue in settings.queue), default=0)
    classes = dict.fromkeys(["default", *(queue.music for queue in settings.queue)])
    return {
        "queues": _join(_queue(queue, lowest) for queue in settings.queue),
        "music_classes": _join(_music(each, sounds.music_dir) for each in classes),
    }


def _queue(queue: QueueSettings, lowest_priority: int) -> str:
    path = f"queue.{grammar.name('queue.name', queue.name)}"
    return _stanza(
        "queue",
        name=queue.name,
        music=grammar.name(f"{path}.music", queue.music),
        ring_timeout_s=_whole_seconds(queue.ring_timeout_s, at_least=1),
        wrap_up_s=_whole_seconds(queue.wrap_up_s, at_least=0),
        weight=str(queue.priority - lowest_priority),
    )


def _music(name: str, music_dir: str) -> str:
    """The default class plays `music_dir` itself, any other the folder of its name in it."""
    grammar.name("queue.music", name)
    return _stanza("music", name=name, directory=music_dir if name == "default" else f"{music_dir}/{name}")


def _dialplan_values(settings: Settings, sounds: Sounds) -> dict[str, str]:
    numbers = frozenset(did.number for did in settings.did)
    said = "&".join(sounds.system_trouble)
    said_or_signalled = "trouble-said" if said else "trouble-signalled"
    return {
        "dids": _join(_did(did, numbers) for did in settings.did),
        "trouble": _stanza(said_or_signalled, dialplan=True, system_trouble=said).rstrip("\n"),
        "heartbeat_stale_s": f"{settings.pbx.heartbeat_stale_s:g}",
        "retry_s": f"{RETRY_S:g}",
        "give_up_s": str(GIVE_UP_S),
        "max_tries": str(MAX_TRIES),
    }


def _did(did: DidSettings, numbers: frozenset[str]) -> str:
    """The number as given, and the same with or without its + unless that is another [[did]]."""
    number = grammar.dialable("did.number", did.number)
    net = grammar.name(f"did.{number}.safety_queue", did.safety_queue)
    variant = number[1:] if number.startswith("+") else f"+{number}"
    lines = _stanza("did", dialplan=True, number=number, safety_queue=net)
    if variant in numbers:
        return lines
    return lines + _stanza("did-variant", dialplan=True, number=number, variant=variant)


def _whole_seconds(seconds: float, *, at_least: int) -> str:
    """app_queue knows whole seconds only: round up, so that nobody rings or rests shorter than was asked for."""
    return str(max(at_least, math.ceil(seconds)))


def _one_of(path: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ConfigError(path, f"must be one of {', '.join(allowed)}, found {value!r}")
    return value


def _stanza(stanza: str, *, dialplan: bool = False, **values: str) -> str:
    folder = resource_dir("dialplan" if dialplan else "asterisk-conf")
    return fill((folder / "stanzas" / f"{stanza}.conf").read_text(encoding="utf-8"), values)


def _join(stanzas: Iterable[str]) -> str:
    return "".join(stanzas).rstrip("\n")
