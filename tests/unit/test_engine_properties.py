"""Random days in a centre: whatever people do and whatever breaks, the queue engine's promises hold after each event.

The days pass on a simulated switch, so that everything that is told could happen.
"""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ccsvc.domain import events as ev
from ccsvc.domain.records import CallRow, is_open
from ccsvc.domain.vocabulary import AgentStatus, DeviceState
from tests.unit.centre_driver import Simulation
from tests.unit.centre_invariants import Watch, has_gone_home, world_of
from tests.unit.centre_parts import Caller, Ring, quick_settings

AGENTS = ("1", "2", "3", "4")
DEVICES = ("d1", "d2", "d3", "d4", "d5")
RINGS = st.builds(
    Ring,
    does=st.sampled_from(["answer", "answer", "answer", "no_answer", "busy", "unreachable", "drop"]),
    after_s=st.sampled_from([0.0, 1.0, 4.0, 14.0, 99.0]),
    talk_s=st.sampled_from([0.0, 3.0, 30.0]),
    hung_up_by=st.sampled_from(["agent", "customer"]),
    hold=st.none() | st.just((1.0, 2.0)) | st.just((2.0, 99.0)),
    transfer_to=st.sampled_from(["", "", "", "200", "300", "999"]),
)


class Day(RuleBasedStateMachine):
    """Callers, agents and faults at random, on a switch that does what switches do."""

    def __init__(self) -> None:
        super().__init__()
        self.simulation = Simulation(quick_settings())
        self.watch = Watch()
        self.simulation.check = lambda commands: self.watch.see(
            self.simulation.centre, commands, self.simulation.stats
        )

    @initialize(
        lag=st.sampled_from([(0.0, 0.0), (0.0, 0.0), (0.03, 0.0), (0.0, 0.03), (0.7, 0.0)]),
        cleared=st.booleans(),
        journal_s=st.sampled_from([0.0, 2.0, 20.0]),
    )
    def streams(self, lag: tuple[float, float], cleared: bool, journal_s: float) -> None:
        self.simulation.ami_lag_s, self.simulation.agi_lag_s = lag
        self.simulation.state_cleared_by_dialplan, self.simulation.journal_overlap_s = cleared, journal_s
        self.simulation.log_in(("1", "d1"), ("2", "d2"), ("4", "d4"))

    @rule(
        did=st.sampled_from(["100", "100", "200", "300", "999"]),
        keys=st.text("129-", max_size=4),
        patience_s=st.none() | st.sampled_from([0.0, 3.0, 20.0, 100.0]),
    )
    def call(self, did: str, keys: str, patience_s: float | None) -> None:
        self.simulation.call(did, keys, patience_s=patience_s)

    @rule(data=st.data())
    @precondition(lambda self: self.alive())
    def hang_up(self, data: st.DataObject) -> None:
        self.simulation.hang_up(data.draw(st.sampled_from(self.alive())))

    @rule(data=st.data())
    @precondition(lambda self: self.idle_sessions())
    def break_session(self, data: st.DataObject) -> None:
        self.simulation.break_session(data.draw(st.sampled_from(self.idle_sessions())))

    @rule(device=st.sampled_from(DEVICES), ring=RINGS)
    def phone_will(self, device: str, ring: Ring) -> None:
        self.simulation.phone(device).rings.append(ring)

    @rule(agent=st.sampled_from(AGENTS), device=st.sampled_from(DEVICES))
    def log_in(self, agent: str, device: str) -> None:
        if self.simulation.phone(device).state == "idle":
            self.simulation.feature(device, "login", digits=(agent, "1234"))

    @rule(
        device=st.sampled_from(DEVICES), verb=st.sampled_from(["logout", "pause", "ready", "end_wrap_up", "listen"])
    )
    def dial_code(self, device: str, verb: ev.FeatureVerb) -> None:
        if self.simulation.phone(device).state == "idle":
            self.simulation.feature(device, verb, "1", digits=("2",))

    @rule(agent=st.sampled_from(AGENTS), status=st.sampled_from(["ready", "ready", "paused", "logged_out"]))
    def force(self, agent: str, status: AgentStatus) -> None:
        self.simulation.force(agent, status)

    @rule(device=st.sampled_from(DEVICES), state=st.sampled_from(["unavailable", "in_use", "idle"]))
    def device(self, device: str, state: DeviceState) -> None:
        if self.simulation.phone(device).state in ("unavailable", "in_use", "idle"):
            self.simulation.set_device(device, state)
            self.simulation.later(8.0, lambda: self._free(device))

    def _free(self, device: str) -> None:
        if self.simulation.phone(device).state in ("unavailable", "in_use"):
            self.simulation.set_device(device, "idle")

    @rule(fresh=st.booleans())
    def look(self, fresh: bool) -> None:
        self.simulation.see_switch(fresh=fresh)

    @rule(seconds=st.sampled_from([0.0, 0.5, 12.0]))
    def lose_switch(self, seconds: float) -> None:
        self.simulation.lose_switch()
        self.simulation.run(seconds)
        self.simulation.see_switch(fresh=True)

    @rule(down_s=st.sampled_from([0.001, 0.001, 2.0, 15.0]), events=st.integers(1, 12), acted=st.booleans())
    @precondition(lambda self: self.simulation.kill_after is None and not self.simulation.dead)
    def kill_soon(self, down_s: float, events: int, acted: bool) -> None:
        self.simulation.kill_after = len(self.simulation.tape) + events
        self.simulation.kill_loses_commands, self.simulation.down_s = not acted, down_s

    @rule(seconds=st.sampled_from([0.0, 0.05, 1.0, 5.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.simulation.run(seconds)

    @invariant()
    def nobodys_day_has_an_overlap(self) -> None:
        assert self.simulation.overlaps() == []
        self.simulation.run(0.001)

    def alive(self) -> list[Caller]:
        return [caller for caller in self.simulation.callers if caller.alive]

    def idle_sessions(self) -> list[Caller]:
        return [c for c in self.alive() if c.session is not None and c.session.open and c.dial is None]

    def teardown(self) -> None:
        simulation = self.simulation
        simulation.kill_after = None
        simulation.run(20)
        simulation.see_switch(fresh=True)
        simulation.run(300)
        for caller in self.alive():
            simulation.hang_up(caller)
        simulation.run(300)
        simulation.see_switch()
        simulation.run(30)
        has_gone_home(simulation.centre, simulation.stats)
        assert (world_of(simulation.centre).sessions, world_of(simulation.centre).tokens) == ({}, {})
        assert {call.call_id for call in simulation.final(CallRow)} >= {
            f"pbx1/{e.channel}" for e in simulation.tape if isinstance(e, ev.CallArrived)
        }
        assert all(not is_open(call) for call in simulation.final(CallRow))


TestDay = Day.TestCase
TestDay.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
