"""The short forms of what is measured for minutes by `make leaks` and `make recovery`."""

from __future__ import annotations

import pytest

from tests.chaos.test_soak import run_apart


@pytest.mark.parametrize("store", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_nothing_is_left_open_by_jobs(store):
    """Descriptors and connections to the letter. So few jobs say little about memory: 60 MiB per 10,000 is a flood."""
    code, said = run_apart("tests.chaos.leaks", "--store", store, "--jobs", "800", "--slope", "60")
    assert code == 0, said
    assert "800 jobs through one child" in said


@pytest.mark.redis
def test_work_goes_on_soon_after_a_death_and_an_outage():
    short = ("--children", "2", "--times", "2", "--lease", "2", "--only", "child,store,host")
    code, said = run_apart("tests.chaos.recovery", "--store", "redis", *short)
    assert code == 0, said
    assert said.count("promised") == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "store", [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("postgres", "redis")]
)
def test_p10_a_scheduler_goes_on_when_its_store_is_back(store):
    """Without a restart; and each tick of the outage is one job."""
    code, said = run_apart("tests.chaos.recovery", "--store", store, "--only", "ticks", "--times", "1")
    assert code == 0, said
    assert "the next tick is a job" in said
