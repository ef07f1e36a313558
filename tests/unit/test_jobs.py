"""Background work: it has an owner, an order, a bound, and an end."""

import asyncio
from typing import Any

from ccsvc.app.jobs import JOB_LIMIT, LANE_LIMIT, Job, Jobs
from ccsvc.errors import AmiDown
from ccsvc.testing.fakes import captured_log
from ccsvc.testing.waiting import eventually


class Bench:
    """Jobs that note that they were done, fail, or wait until they are let go."""

    def __init__(self) -> None:
        self.log, self.lines = captured_log()
        self.jobs = Jobs(self.log)
        self.done: list[object] = []
        self.gate = asyncio.Event()

    def note(self, what: object) -> Job:
        async def job() -> None:
            self.done.append(what)

        return job

    def wait(self, what: object) -> Job:
        async def job() -> None:
            await self.gate.wait()
            self.done.append(what)

        return job

    def fail(self, error: Exception) -> Job:
        async def job() -> None:
            raise error

        return job

    def said(self, event: str) -> list[Any]:
        return [line for line in self.lines if line["event"] == event]


async def test_a_job_runs_by_itself_under_its_name() -> None:
    bench = Bench()
    assert bench.jobs.start("measure-1", bench.wait(1))
    assert "ccsvc-measure-1" in {task.get_name() for task in asyncio.all_tasks()}
    bench.gate.set()
    await eventually(lambda: bench.done == [1], "the job done")


async def test_a_job_that_fails_is_said_with_its_code_and_harms_nobody() -> None:
    bench = Bench()
    bench.jobs.start("a", bench.fail(AmiDown("Setvar", "cut", sent=True)))
    bench.jobs.start("b", bench.fail(ZeroDivisionError("ours")))
    bench.jobs.start("c", bench.note("c"))
    await eventually(lambda: len(bench.said("job failed")) == 2, "both said")
    known, unknown = bench.said("job failed")
    assert (known["job"], known["code"], known["log_level"]) == ("a", "ami_down", "warning")
    assert (unknown["job"], unknown["log_level"]) == ("b", "error")
    assert bench.done == ["c"]


async def test_a_job_that_runs_already_is_not_started_twice() -> None:
    bench = Bench()
    for _ in range(3):
        assert bench.jobs.once("look", bench.wait("look"))
    bench.gate.set()
    await eventually(lambda: bench.done == ["look"], "done once")
    bench.jobs.once("look", bench.note("again"))
    await eventually(lambda: bench.done == ["look", "again"], "done again")


async def test_jobs_of_a_lane_run_in_the_order_given_one_at_a_time() -> None:
    bench = Bench()
    bench.jobs.in_order("lane", bench.wait(0))
    bench.jobs.in_order("lane", bench.fail(ValueError("one of them")))
    for n in range(1, 50):
        bench.jobs.in_order("lane", bench.note(n))
    bench.jobs.in_order("other", bench.note("other"))
    await eventually(lambda: bench.done == ["other"], "the other lane goes its own way")
    bench.gate.set()
    await eventually(lambda: len(bench.done) == 51, "all done")
    assert bench.done == ["other", *range(50)]
    assert len(bench.said("job failed")) == 1
    await bench.jobs.close(1)


async def test_too_many_jobs_are_dropped_counted_and_said_and_lanes_still_begin() -> None:
    bench = Bench()
    bench.jobs.in_order("earlier", bench.note("earlier"))
    assert all(bench.jobs.start(f"w{n}", bench.wait(n)) for n in range(JOB_LIMIT)), "a lane is none of them"
    assert not bench.jobs.start("one-more", bench.note("never"))
    assert bench.jobs.dropped == 1
    assert bench.said("a job was dropped")[0]["job"] == "one-more"
    assert bench.jobs.in_order("lane", bench.note("lane"))
    await eventually(lambda: bench.done == ["earlier", "lane"], "the lanes' jobs done")
    await bench.jobs.close(1)


async def test_a_lane_takes_so_many_and_says_what_it_drops() -> None:
    bench = Bench()
    assert all(bench.jobs.in_order("lane", bench.wait(n)) for n in range(LANE_LIMIT))
    assert not bench.jobs.in_order("lane", bench.note("never"))
    assert bench.jobs.dropped == 1
    await bench.jobs.close(1)
    assert bench.said("jobs given up at shutdown")[0]["jobs"] >= LANE_LIMIT - 1


async def test_closing_ends_what_runs_and_takes_nothing_more() -> None:
    bench = Bench()
    bench.jobs.start("w", bench.wait("w"))
    bench.jobs.in_order("lane", bench.wait("l"))
    await bench.jobs.close(1)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("ccsvc-")]
    assert not bench.jobs.start("late", bench.note("late"))
    assert not bench.jobs.in_order("lane", bench.note("late"))
    assert bench.jobs.dropped == 2
    assert bench.done == []


async def test_closing_waits_no_longer_than_it_may_and_names_who_is_late() -> None:
    bench = Bench()
    began = asyncio.Event()

    async def stubborn() -> None:
        while not bench.gate.is_set():
            began.set()
            try:
                await bench.gate.wait()
            except asyncio.CancelledError:
                bench.done.append("asked to end")

    bench.jobs.start("stubborn", stubborn)
    await began.wait()
    await bench.jobs.close(0.05)
    assert bench.done == ["asked to end"]
    assert bench.said("job is late at shutdown")[0]["job"] == "ccsvc-stubborn"
    bench.gate.set()


async def test_closing_twice_or_with_nothing_to_do_is_fine() -> None:
    bench = Bench()
    await bench.jobs.close(1)
    await bench.jobs.close(1)
    assert bench.lines == []
