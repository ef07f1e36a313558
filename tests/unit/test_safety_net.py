"""What must be changed in the PBX's queues: the difference, and nothing else."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccsvc.asterisk.safety_net import Change, Membership, SafetyNet, changes
from ccsvc.domain.ids import AgentId, DeviceName, QueueName
from ccsvc.errors import AmiTimeout
from ccsvc.wire.ami import AmiMessage

SALES, SUPPORT = Membership("sales", "PJSIP/d1"), Membership("support", "PJSIP/d1")
ELSEWHERE = Membership("sales", "PJSIP/d2")
State = dict[Membership, tuple[str, bool]]


def done(have: State, agent: str, wanted: dict[Membership, bool]) -> list[str]:
    """The actions, as one reads them."""
    return [
        f"{change.action} {' '.join(value for _, value in change.fields)}" for change in changes(have, agent, wanted)
    ]


def test_what_is_already_so_needs_nothing() -> None:
    assert done({SALES: ("101", False)}, "101", {SALES: False}) == []
    assert done({}, "101", {}) == []


def test_who_logs_in_is_added_to_each_queue() -> None:
    assert done({}, "101", {SALES: False, SUPPORT: True}) == [
        "QueueAdd sales PJSIP/d1 101 false",
        "QueueAdd support PJSIP/d1 101 true",
    ]


def test_who_logs_out_is_removed_from_each_queue() -> None:
    have = {SALES: ("101", False), SUPPORT: ("101", True)}
    assert done(have, "101", {}) == ["QueueRemove sales PJSIP/d1", "QueueRemove support PJSIP/d1"]


def test_a_pause_is_a_pause_and_nothing_else() -> None:
    assert done({SALES: ("101", False)}, "101", {SALES: True}) == ["QueuePause sales PJSIP/d1 true"]
    assert done({SALES: ("101", True)}, "101", {SALES: False}) == ["QueuePause sales PJSIP/d1 false"]


def test_who_moves_to_another_device_leaves_the_first_one() -> None:
    assert done({ELSEWHERE: ("101", False)}, "101", {SALES: False}) == [
        "QueueRemove sales PJSIP/d2",
        "QueueAdd sales PJSIP/d1 101 false",
    ]


def test_a_device_that_another_agent_left_behind_gets_its_new_name() -> None:
    assert done({SALES: ("102", True)}, "101", {SALES: False}) == [
        "QueueRemove sales PJSIP/d1",
        "QueueAdd sales PJSIP/d1 101 false",
    ]


def test_other_agents_are_left_alone() -> None:
    assert done({SALES: ("102", True)}, "101", {}) == []


MEMBERSHIPS = [Membership(queue, f"PJSIP/{device}") for queue in ("a", "b") for device in ("d1", "d2", "d3")]
AGENTS = st.sampled_from(["101", "102"])
HAVE = st.dictionaries(st.sampled_from(MEMBERSHIPS), st.tuples(AGENTS, st.booleans()))
WANTED = st.dictionaries(st.sampled_from(MEMBERSHIPS), st.booleans())


def after(have: State, done: list[Change]) -> State:
    """What a PBX that follows every action comes to; it refuses what makes no sense."""
    state = dict(have)
    for change in done:
        fields = dict(change.fields)
        membership = Membership(fields["Queue"], fields["Interface"])
        assert (membership in state) == (change.action != "QueueAdd"), "refused by the PBX"
        if change.action == "QueueAdd":
            state[membership] = (fields["MemberName"], fields["Paused"] == "true")
        elif change.action == "QueuePause":
            state[membership] = (state[membership][0], fields["Paused"] == "true")
        else:
            del state[membership]
    return state


@given(HAVE, AGENTS, WANTED)
def test_from_whatever_there_is_it_comes_to_what_is_wanted_and_stays_there(
    have: State, agent: str, wanted: dict[Membership, bool]
) -> None:
    state = after(have, list(changes(have, agent, wanted)))
    assert {m: paused for m, (owner, paused) in state.items() if owner == agent} == wanted
    others = {m: kept for m, kept in have.items() if kept[0] != agent and m not in wanted}
    assert {m: kept for m, kept in state.items() if kept[0] != agent} == others
    assert list(changes(state, agent, wanted)) == []


@pytest.mark.parametrize("paused", [True, False])
def test_a_flag_is_written_as_asterisk_reads_it(paused: bool) -> None:
    (change,) = changes({}, "101", {SALES: paused})
    assert dict(change.fields)["Paused"] == str(paused).lower()


class FakeLink:
    """Keeps members as a PBX does; with `loses` it does what it is told, and its answer is lost."""

    def __init__(self) -> None:
        self.members: State = {}
        self.sent: list[str] = []
        self.loses = False

    async def action(self, name: str, fields: Mapping[str, str], /) -> AmiMessage:
        self.sent.append(name)
        self.members = after(self.members, [Change(name, tuple(fields.items()))])
        if self.loses:
            raise AmiTimeout(name, 5)
        return AmiMessage.of({"Response": "Success"})

    async def listing(self, name: str, /) -> list[AmiMessage]:
        self.sent.append(name)
        return [
            AmiMessage.of(
                {
                    "Event": "QueueMember",
                    "Queue": membership.queue,
                    "Location": membership.interface,
                    "Name": owner,
                    "Paused": str(int(paused)),
                }
            )
            for membership, (owner, paused) in self.members.items()
        ]


async def test_after_an_answer_that_was_lost_it_asks_what_there_is_and_brings_about_the_rest() -> None:
    link = FakeLink()
    net = SafetyNet(link, ["sales", "support"])
    agent, device, queues = AgentId("101"), DeviceName("d1"), (QueueName("sales"), QueueName("support"))
    await net.put(agent, device, (), paused=False)
    assert (net.in_step, link.sent) == (True, ["QueueStatus"])
    link.loses = True
    with pytest.raises(AmiTimeout):
        await net.put(agent, device, queues, paused=False)
    assert not net.in_step
    link.loses = False
    await net.renew()
    assert link.sent[1:] == ["QueueAdd", "QueueStatus", "QueueAdd"], "what was done is not done again"
    assert link.members == {SALES: ("101", False), SUPPORT: ("101", False)}
    await net.renew()
    assert len(link.sent) == 4, "in step: nothing to be asked"
