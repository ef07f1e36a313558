"""The settings' parts agree with each other, or it is said where they don't."""

import pytest

from ccsvc.domain.consistency import faults, item_paths, suggestion
from tests.unit.config_samples import Raw, faults_of, paths_of, right, settings


def node(raw: Raw, name: str = "start") -> Raw:
    found: Raw = raw["ivr"]["main"]["node"][name]
    return found


def test_settings_that_fit_together_have_no_faults() -> None:
    assert faults(settings()) == []


def test_an_item_is_named_by_its_label_where_that_is_unambiguous() -> None:
    assert item_paths("queue", ["sales", "a b", "x", "x", ""]) == [
        "queue.sales",
        "queue[1]",
        "queue[2]",
        "queue[3]",
        "queue[4]",
    ]


def test_a_suggestion_names_the_nearest_else_what_there_is() -> None:
    assert suggestion("salse", ["sales", "support"]) == "did you mean 'sales'?"
    assert suggestion("zzz", ["sales", "support"]) == "known: sales, support"
    assert "there is none" in suggestion("zzz", [])


@pytest.mark.parametrize(
    ("section", "key"),
    [("queue", "name"), ("agent", "number"), ("device", "name"), ("supervisor", "number"), ("did", "number")],
)
def test_a_name_that_is_used_twice_is_a_fault_of_the_second(section: str, key: str) -> None:
    raw = right()
    raw[section].append(dict(raw[section][0]))
    at = len(raw[section]) - 1
    assert f"{section}[{at}].{key}" in paths_of(raw)


@pytest.mark.parametrize(
    ("spoil", "path"),
    [
        (lambda raw: raw["agent"][0].update(queues=["sales", "salse"]), "agent.101.queues[1]"),
        (lambda raw: raw["agent"][0].update(queues=["sales", "sales"]), "agent.101.queues[1]"),
        (lambda raw: raw["supervisor"][0].update(queues=["none"]), "supervisor.901.queues[0]"),
        (lambda raw: raw["supervisor"][0].update(device="d902"), "supervisor.901.device"),
        (lambda raw: raw["supervisor"][0].update(number="101"), "supervisor.101.number"),
        (lambda raw: raw["did"][0].update(safety_queue="none"), "did.2001.safety_queue"),
        (lambda raw: raw["did"][0].update(target="queue:none"), "did.2001.target"),
        (lambda raw: raw["did"][0].update(target="ivr:none"), "did.2001.target"),
        (lambda raw: raw["did"][0].update(target="hangup"), "did.2001.target"),
        (lambda raw: raw["queue"][0].update(on_full="node:start"), "queue.sales.on_full"),
        (lambda raw: raw["queue"][0].update(on_empty="repeat"), "queue.sales.on_empty"),
        (lambda raw: raw["queue"][0].update(on_timeout="language:fa hangup"), "queue.sales.on_timeout"),
        (lambda raw: raw["ivr"]["main"].update(start="begin"), "ivr.main.start"),
        (lambda raw: node(raw).update(keys={"1": "node:none"}), "ivr.main.node.start.keys.1"),
        (lambda raw: node(raw).update(keys={"#": "ivr:main"}), "ivr.main.node.start.keys.#"),
        (lambda raw: node(raw).update(on_failure="queue:none"), "ivr.main.node.start.on_failure"),
        (lambda raw: node(raw).update(next="hangup"), "ivr.main.node.start.next"),
        (lambda raw: node(raw, "hours").pop("next"), "ivr.main.node.hours"),
        (lambda raw: node(raw)["keys"].pop("2"), "ivr.main.node.hours"),
        (lambda raw: raw["pbx"].update(rtp_first_port=10001), "pbx.rtp_first_port"),
        (lambda raw: raw["pbx"].update(rtp_last_port=10998), "pbx.rtp_last_port"),
        (lambda raw: raw["pbx"].update(rtp_last_port=10003), "pbx.rtp_last_port"),
        (lambda raw: raw["pbx"].update(sip_port=10500), "pbx.sip_port"),
        (lambda raw: raw.update(http={"port": 5038}), "http.port"),
        (lambda raw: raw["pbx"].update(heartbeat_interval_s=5.0), "pbx.heartbeat_stale_s"),
    ],
)
def test_what_does_not_fit_is_named_by_its_path(spoil, path: str) -> None:  # type: ignore[no-untyped-def]
    raw = right()
    spoil(raw)
    assert path in paths_of(raw)


def test_ports_of_two_machines_may_be_equal() -> None:
    raw = right()
    raw["pbx"]["host"] = "10.0.0.5"
    raw["http"] = {"port": 5038}
    assert settings(raw).http.port == 5038


def test_a_menu_that_turns_without_a_key_is_a_fault_that_shows_the_circle() -> None:
    raw = right()
    node(raw)["on_failure"] = "node:hours"
    (fault,) = faults_of(raw)
    assert fault.path == "ivr.main.node.start.on_failure"
    assert fault.found == "node main.start → node main.hours → node main.start"


def test_a_node_that_repeats_itself_in_silence_is_a_fault() -> None:
    raw = right()
    node(raw)["on_failure"] = "repeat"
    assert paths_of(raw) == ["ivr.main.node.start.on_failure"]


def test_queues_that_send_a_caller_round_when_full_are_a_fault() -> None:
    raw = right()
    raw["queue"][0]["on_full"] = "queue:support"
    raw["queue"][1]["on_full"] = "queue:sales"
    assert paths_of(raw) == ["queue.sales.on_full"]


def test_two_separate_circles_are_two_faults() -> None:
    raw = right()
    node(raw)["on_failure"] = "repeat"
    raw["queue"][0]["on_empty"] = "queue:sales"
    assert sorted(paths_of(raw)) == ["ivr.main.node.start.on_failure", "queue.sales.on_empty"]


def test_a_way_back_that_needs_a_key_or_a_wait_is_no_circle() -> None:
    raw = right()
    node(raw)["keys"]["*"] = "repeat"
    raw["queue"][0]["on_timeout"] = "ivr:main"
    assert faults(settings(raw)) == []


def test_a_text_is_asked_for_in_the_language_of_the_number() -> None:
    raw = right()
    raw["did"][0]["language"] = "fa"
    assert sorted(paths_of(raw)) == ["ivr.main.node.hours.say.fa", "ivr.main.node.start.say.fa"]


def test_a_text_is_asked_for_in_a_language_that_a_key_chooses_and_only_from_there_on() -> None:
    raw = right()
    node(raw)["keys"]["2"] = "language:ar node:hours"
    node(raw, "hours")["next"] = "queue:sales"
    assert paths_of(raw) == ["ivr.main.node.hours.say.ar"]


def test_a_chosen_language_stays_through_a_queue_into_the_menu() -> None:
    raw = right()
    node(raw)["keys"]["3"] = "language:ar queue:sales"
    raw["queue"][0]["on_timeout"] = "ivr:main"
    assert sorted(paths_of(raw)) == ["ivr.main.node.hours.say.ar", "ivr.main.node.start.say.ar"]
