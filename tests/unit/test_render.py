"""The PBX's configuration: all of the settings is in it, nothing hostile is, and it is written whole or not."""

import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from asterisk.config import Config
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ccsvc.asterisk import conf_grammar as grammar
from ccsvc.asterisk.render import SECRET_FILES, needed_modules, render, rendered
from ccsvc.errors import ConfigError
from ccsvc.resources import resource_dir
from ccsvc.settings import DeviceSettings, DidSettings, PbxSettings, Settings, TrunkSettings
from ccsvc.testing.sample import AGENTS, CALLERS, QUEUES, device_secret, sample_settings

TRUNK = TrunkSettings(name="carrier", host="sip.example.net:5070", match=("192.0.2.0/28", "sip.example.net"))
HOOKED = ("manager", "pjsip", "queues", "musiconhold", "modules", "extensions")


def with_pbx(**changes: object) -> Settings:
    settings = sample_settings()
    return replace(settings, pbx=replace(settings.pbx, **changes))


def with_device(**changes: object) -> Settings:
    settings = sample_settings()
    return replace(settings, device=(replace(settings.device[0], **changes), *settings.device[1:]))


def with_trunk(**changes: object) -> Settings:
    return replace(sample_settings(), trunk=(replace(TRUNK, **changes),))


def with_queue(**changes: object) -> Settings:
    settings = sample_settings()
    return replace(settings, queue=(replace(settings.queue[0], **changes), *settings.queue[1:]))


def with_did(**changes: object) -> Settings:
    settings = sample_settings()
    return replace(settings, did=(replace(settings.did[0], **changes), *settings.did[1:]))


def sections(path: Path) -> dict[str, list[dict[str, str]]]:
    """As an independent reader of Asterisk's files sees it: section -> each of that name -> its last values."""
    found: dict[str, list[dict[str, str]]] = {}
    for category in Config(str(path)).categories:
        found.setdefault(category.name, []).append({item.name: item.value.strip() for item in category.items})
    return found


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "etc"


def test_every_device_is_an_endpoint_with_its_own_secret_and_one_contact(target: Path) -> None:
    render(sample_settings(), target)
    found = sections(target / "ccsvc/pjsip.conf")
    for name in [f"d{number}" for number in AGENTS] + list(CALLERS):
        by_type = {section["type"]: section for section in found[name]}
        assert by_type["endpoint"]["context"] == "ccsvc-phones"
        assert by_type["endpoint"]["direct_media"] == "no"
        assert by_type["endpoint"]["allow"] == "ulaw,alaw,g722"
        assert by_type["aor"]["max_contacts"] == "1"
        assert by_type["auth"]["password"] == device_secret(name)


def test_every_queue_keeps_its_callers_and_its_members(target: Path) -> None:
    render(sample_settings(), target)
    found = sections(target / "ccsvc/queues.conf")
    assert found["general"][0]["persistentmembers"] == "yes"
    for name in QUEUES:
        queue = found[name][0]
        assert (queue["joinempty"], queue["leavewhenempty"], queue["autopause"]) == ("yes", "no", "no")
        assert (queue["ringinuse"], queue["timeout"], queue["wrapuptime"]) == ("no", "8", "2")


def test_every_number_is_reached_with_and_without_its_plus(target: Path) -> None:
    settings = with_did(number="+982112345678")
    render(settings, target)
    text = (target / "ccsvc/dialplan/in.conf").read_text()
    for did in settings.did:
        assert (
            f"exten => {did.number},1,Set(CCSVC_DID={did.number})\n same => n,Set(CCSVC_NET={did.safety_queue})"
            in text
        )
    assert "exten => 982112345678,1,Goto(+982112345678,1)" in text
    assert "exten => +1001,1,Goto(1001,1)" in text


def test_a_number_that_is_configured_in_both_forms_is_two_numbers() -> None:
    did = DidSettings(number="+1001", target="queue:billing", safety_queue="billing")
    settings = replace(sample_settings(), did=(*sample_settings().did, did))
    text = rendered(settings)["ccsvc/dialplan/in.conf"]
    assert len(re.findall(r"exten => \+1001,", text)) == 1
    assert len(re.findall(r"exten => 1001,", text)) == 1


def test_a_trunk_is_known_by_its_address_and_reaches_only_the_numbers(target: Path) -> None:
    render(replace(sample_settings(), trunk=(TRUNK,)), target)
    by_type = {section["type"]: section for section in sections(target / "ccsvc/pjsip.conf")["carrier"]}
    assert by_type["endpoint"]["identify_by"] == "ip"
    assert by_type["aor"]["contact"] == "sip:sip.example.net:5070"
    assert "auth" not in by_type
    text = (target / "ccsvc/pjsip.conf").read_text()
    assert "match = 192.0.2.0/28\nmatch = sip.example.net\n" in text
    assert "[ccsvc-trunk-carrier]\ninclude => ccsvc-in\n" in (target / "ccsvc/dialplan/trunks.conf").read_text()


def test_an_independent_reader_reads_every_file_but_the_includes(target: Path) -> None:
    render(replace(sample_settings(), trunk=(TRUNK,)), target)
    hooks = {target / f"{name}.conf" for name in HOOKED}
    files = set(target.rglob("*.conf"))
    assert hooks < files
    for path in files - hooks:
        sections(path)
    for path in hooks:
        lines = [line for line in path.read_text().splitlines() if line and not line.startswith(";")]
        assert all(re.fullmatch(r'#(try)?include "[a-z/*.-]+"', line) for line in lines), path


def test_every_included_file_is_made(target: Path) -> None:
    render(sample_settings(), target)
    for name in HOOKED:
        for included in re.findall(r'^#include "(.+)"', (target / f"{name}.conf").read_text(), re.MULTILINE):
            assert (target / included).is_file()


def test_no_placeholder_is_left_and_none_is_unknown() -> None:
    for name, text in rendered(replace(sample_settings(), trunk=(TRUNK,))).items():
        assert not re.search(r"@[a-z_]+@", text), name


def test_only_loopback_may_log_in_when_all_is_on_one_machine() -> None:
    text = rendered(sample_settings())["ccsvc/manager.conf"]
    assert re.findall(r"^(?:deny|permit) = (\S+)", text, re.MULTILINE) == ["0.0.0.0/0.0.0.0", "::/0", "127.0.0.0/8"]


def test_a_daemon_on_another_machine_may_log_in_and_nobody_else() -> None:
    text = rendered(with_pbx(host="10.1.2.3", agi_host="10.1.2.4"))["ccsvc/manager.conf"]
    assert re.findall(r"^permit = (\S+)", text, re.MULTILINE) == ["10.1.2.3/32", "10.1.2.4/32"]
    assert "bindaddr = 10.1.2.3 " in text


def test_the_manager_user_has_no_class_that_owns_the_machine() -> None:
    text = rendered(sample_settings())["ccsvc/manager.conf"]
    write = re.search(r"^write = (.*)$", text, re.MULTILINE)
    assert write is not None
    assert not {"all", "system", "command", "config", "agi"} & set(write[1].split(","))


def test_a_second_queue_priority_becomes_a_weight_that_is_never_negative() -> None:
    text = rendered(with_queue(priority=-3))["ccsvc/queues.conf"]
    assert re.findall(r"^weight = (-?\d+)$", text, re.MULTILINE) == ["0", "3", "3"]


def test_a_media_address_is_said_once_for_each_party_or_not_at_all() -> None:
    settings = replace(with_pbx(media_address="198.51.100.7"), trunk=(TRUNK,))
    assert rendered(settings)["ccsvc/pjsip.conf"].count("media_address = 198.51.100.7") == len(settings.device) + 1
    assert "media_address" not in rendered(sample_settings())["ccsvc/pjsip.conf"]


def test_a_tcp_phone_brings_its_transport() -> None:
    assert "[transport-tcp]" in rendered(with_device(transport="tcp"))["ccsvc/pjsip.conf"]
    assert "[transport-tcp]" not in rendered(sample_settings())["ccsvc/pjsip.conf"]


@dataclass(frozen=True)
class FakePrompts:
    def path(self, name: str, language: str) -> str:
        return f"/prompts/{language}/{name}"

    def duration_s(self, name: str, language: str) -> float:
        return 1.0


def test_a_phone_without_a_daemon_is_told_so_in_the_languages_of_the_house() -> None:
    text = rendered(sample_settings(), prompts=FakePrompts())["ccsvc/dialplan/phones.conf"]
    said = re.search(r"Playback\((.+)\)", text)
    assert said is not None
    assert sorted(said[1].split("&")) == [f"/prompts/{language}/system_trouble" for language in ("ar", "en", "fa")]


def test_music_is_a_folder_for_each_class() -> None:
    text = rendered(with_queue(music="jazz"), music_dir=Path("/music"))["ccsvc/musiconhold.conf"]
    assert re.findall(r"^\[(.+)\]\n.*\ndirectory = (.+)$", text, re.MULTILINE) == [
        ("default", "/music"),
        ("jazz", "/music/jazz"),
    ]


HOSTILE_TEXT = [
    "x\nsecret = y",
    "x\r\ny",
    "x;comment",
    "x]",
    "[x",
    "a\\b",
    "x\x00y",
    "x\u2028y",
    "${SHELL(id)}",
    "$[1+1]",
]
HOSTILE_TEXT += [" x", "x ", "#include y", "=> x", "x" * 257, "\u202ex"]
HOSTILE_NAMES = ["", "A", "a b", "a]", "a,b", "a\n", "-a", "general", "../x", "a" * 33, "é"]
HOSTILE_NUMBERS = ["", "+", "1,n,System(id)", "1 2", "٠١", "1\n", "_X.", "1" * 21, "s"]
HOSTILE_FOLDERS = ["", "etc", "/a/../b", "/a b", "/a;b", "/a\nb", "/a,b", "/a)b", "/a&b"]
PUBLIC_HOSTS = [
    "0.0.0.0",
    "::",
    "8.8.8.8",
    "2001:db8::1",
    "pbx.example.net",
    "",
    "127.0.0.1\n",
    "169.254.1.1",
    "fe80::1%eth0",
]

Case = tuple[str, Callable[[str], Settings], list[str]]
CASES: list[Case] = [
    ("device.c1.secret", lambda v: with_named_device("c1", secret=v), [*HOSTILE_TEXT, ""]),
    ("device.c1.caller_id", lambda v: with_named_device("c1", caller_id=v), HOSTILE_TEXT),
    ("device.name", lambda v: with_device(name=v), HOSTILE_NAMES),
    ("queue.name", lambda v: with_queue(name=v), HOSTILE_NAMES),
    ("queue.sales.music", lambda v: with_queue(music=v), HOSTILE_NAMES),
    ("did.number", lambda v: with_did(number=v), HOSTILE_NUMBERS),
    ("did.1000.safety_queue", lambda v: with_did(safety_queue=v), HOSTILE_NAMES),
    ("trunk.name", lambda v: with_trunk(name=v), HOSTILE_NAMES),
    (
        "trunk.carrier.host",
        lambda v: with_trunk(host=v),
        ["", "a b", "a;b", "a:b", "a:0", "a:99999", "-a", "a\n", "a@b", "sip:a"],
    ),
    (
        "trunk.carrier.match",
        lambda v: with_trunk(match=(v,)),
        ["", "0.0.0.0/0", "::/0", "1.2.3.4/33", "1.2.3", "a b", "a\nb"],
    ),
    ("pbx.ami_secret", lambda v: with_pbx(ami_secret=v), [*HOSTILE_TEXT, ""]),
    ("pbx.ami_username", lambda v: with_pbx(ami_username=v), HOSTILE_NAMES),
    ("pbx.host", lambda v: with_pbx(host=v), PUBLIC_HOSTS),
    ("pbx.agi_host", lambda v: with_pbx(agi_host=v), PUBLIC_HOSTS),
    ("pbx.sip_bind", lambda v: with_pbx(sip_bind=v), ["", "localhost", "1.2.3.4:5060", "1.2.3.4\n"]),
    ("pbx.media_address", lambda v: with_pbx(media_address=v), ["localhost", "1.2.3.4;", "1.2.3.4\n"]),
    ("pbx.log_dir", lambda v: with_pbx(log_dir=v), HOSTILE_FOLDERS),
]


def with_named_device(name: str, **changes: object) -> Settings:
    settings = sample_settings()
    devices = [replace(each, **changes) if each.name == name else each for each in settings.device]
    return replace(settings, device=tuple(devices))


@pytest.mark.parametrize(
    ("path", "make", "value"), [(path, make, value) for path, make, values in CASES for value in values]
)
def test_a_hostile_value_is_refused_with_its_path(
    path: str, make: Callable[[str], Settings], value: str, target: Path
) -> None:
    with pytest.raises(ConfigError) as refused:
        render(make(value), target)
    assert refused.value.path == path
    assert not target.exists()


def test_no_message_shows_a_secret() -> None:
    with pytest.raises(ConfigError) as refused:
        rendered(with_pbx(ami_secret="hunter2;"))
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(("first", "last"), [(0, 10), (10, 10), (20, 10), (10, 65536)])
def test_ports_for_sound_must_make_a_range(first: int, last: int) -> None:
    with pytest.raises(ConfigError):
        rendered(with_pbx(rtp_first_port=first, rtp_last_port=last))


@given(st.text(max_size=40))
def test_a_text_that_passes_reads_back_as_it_was(value: str) -> None:
    try:
        grammar.text("x", value)
    except ConfigError:
        return
    line = f"key = {value}"
    assert line.splitlines() == [line]
    assert line.partition("=")[2].strip() == value
    assert not set(value) & set(";[]\\\n\r\0")


def test_persian_names_are_fine() -> None:
    settings = with_named_device("c1", caller_id='"علی رضایی\u200cپور" <0912>')
    assert 'callerid = "علی رضایی\u200cپور" <0912>\n' in rendered(settings)["ccsvc/pjsip.conf"]


def test_ipv6_addresses_are_written_in_brackets() -> None:
    texts = rendered(with_pbx(agi_host="::1", sip_bind="::"))
    assert "AGI(agi://[::1]:" in texts["ccsvc/dialplan/call.conf"]
    assert "bind = [::]:5060" in texts["ccsvc/pjsip.conf"]


def test_a_secret_is_readable_by_its_owner_only(target: Path) -> None:
    render(sample_settings(), target)
    secret = [device_secret(name) for name in CALLERS] + [sample_settings().pbx.ami_secret]
    holding = {
        path.relative_to(target).as_posix()
        for path in target.rglob("*.conf")
        if any(each in path.read_text() for each in secret)
    }
    assert holding == SECRET_FILES
    assert all(stat.S_IMODE((target / name).stat().st_mode) == 0o600 for name in SECRET_FILES)


def test_a_secret_that_was_opened_to_others_is_closed_again(target: Path) -> None:
    render(sample_settings(), target)
    path = target / "ccsvc/pjsip.conf"
    path.chmod(0o644)
    render(sample_settings(), target)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_the_group_that_an_operator_let_in_stays_in(target: Path) -> None:
    render(sample_settings(), target)
    path = target / "ccsvc/manager.conf"
    path.chmod(0o640)
    assert render(with_pbx(ami_secret="another"), target) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_rendering_again_touches_nothing(target: Path) -> None:
    first = render(sample_settings(), target)
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*") if path.is_file()}
    assert set(first) == set(before)
    assert render(sample_settings(), target) == []
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*") if path.is_file()} == before


def test_a_change_touches_only_the_files_it_is_in(target: Path) -> None:
    render(sample_settings(), target)
    assert render(with_queue(ring_timeout_s=9.5), target) == [target / "ccsvc/queues.conf"]


def test_what_a_site_added_is_left_alone(target: Path) -> None:
    site = target / "manager.d/monitoring.conf"
    site.parent.mkdir(parents=True)
    site.write_text("[monitoring]\n")
    render(sample_settings(), target)
    assert site.read_text() == "[monitoring]\n"


def test_a_failed_write_leaves_the_old_configuration_whole(target: Path) -> None:
    render(sample_settings(), target)
    before = {path: path.read_text() for path in target.rglob("*.conf")}
    blocked = target / "ccsvc/dialplan"
    blocked.rename(target / "ccsvc/moved")
    blocked.write_text("a file where a folder must be")
    with pytest.raises(FileExistsError):
        render(with_pbx(ami_secret="another", agi_port=4999), target)
    blocked.unlink()
    (target / "ccsvc/moved").rename(blocked)
    assert {path: path.read_text() for path in target.rglob("*.conf")} == before
    assert [path for path in target.rglob(".*") if path.is_file()] == []


def test_the_modules_are_read_from_the_list_that_the_pbx_reads() -> None:
    modules = needed_modules()
    assert {"chan_pjsip.so", "res_agi.so", "app_queue.so", "res_cdrel_custom.so"} <= set(modules)
    assert len(modules) == len(set(modules)) == rendered(sample_settings())["ccsvc/modules.conf"].count("\nload = ")


def test_every_file_says_why_in_its_first_line() -> None:
    for folder in (resource_dir("asterisk-conf"), resource_dir("dialplan")):
        for path in folder.rglob("*.conf"):
            if "stanzas" not in path.parts:
                assert path.read_text().startswith("; "), path


def test_defaults_of_the_settings_render_but_for_the_secret() -> None:
    device = DeviceSettings(name="d1", secret="s")
    assert rendered(Settings(pbx=PbxSettings(ami_secret="s"), device=(device,)))
