"""The benchmark still runs, and says what it means. No times are asserted: a busy machine must not fail a test."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.benchmarks import pages
from tests.benchmarks.goals import Verdict, verdicts
from tests.benchmarks.measures import drained
from tests.benchmarks.processes import ROOT, Failed
from tests.benchmarks.report import spread, table


def test_a_drain_is_timed_from_when_all_workers_are_at_work() -> None:
    first = {"started": [0, 1_000_000_000, 2_000_000_000], "ended": 3_000_000_000, "cpu_s": 0.1}
    second = {"started": [1_000_000_000, 2_000_000_000], "ended": 2_500_000_000, "cpu_s": 0.1}

    figures = drained([first, second], 5)

    assert figures["per_second"] == pytest.approx(4 / 2)  # the first start does not count: one worker was alone


def test_a_drain_that_lost_a_job_is_no_result() -> None:
    with pytest.raises(Failed, match="1 jobs ran, not 2"):
        drained([{"started": [1], "ended": 2, "cpu_s": 0.0}], 2)


def test_a_ratio_is_taken_inside_a_round() -> None:
    def speed(*values: float) -> dict[str, list[float]]:
        return {"per_second": list(values)}

    latency = {"p95": [25.0, 5.0, 5.0]}
    ours = {"drain, 1 worker": speed(100, 50), "drain, old rows": speed(100, 40)}
    peer = {"drain, 1 worker": speed(1, 1), "drain, 2 workers": speed(4, 2)}
    rounds = {"ours": {**ours, "latency": latency, "latency, asleep": latency}, "django-tasks-db": peer}

    found = {one.what: one for one in verdicts("postgres", rounds)}

    assert found["drain / django-tasks-db at its best"].values == [25, 25]
    assert found["drain with old rows / without"].values == [1.0, 0.8]
    assert found["latency, p95 in ms"].is_met


def test_a_missed_goal_is_said() -> None:
    assert not Verdict("sqlite", "drain", [24.9], 25.0).is_met


def test_figures_are_written_with_their_spread() -> None:
    assert spread([3.0, 1.0, 2.0]) == "2 (1-3)"
    assert table(("a", "b"), [("1", "22")]) == "| a | b  |\n| - | -- |\n| 1 | 22 |"


def test_the_page_has_the_place_the_figures_are_written_to() -> None:
    page = (ROOT / pages.PAGE).read_text()

    assert page.count(pages.BEGIN) == page.count(pages.END) == 1
    assert page.index(pages.BEGIN) < page.index(pages.END)


@pytest.mark.slow
def test_a_small_run_measures_everything_on_sqlite(tmp_path) -> None:
    file = tmp_path / "results.json"
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--jobs", "60", "--stores", "sqlite"]

    subprocess.run([*command, "--systems", "ours,raw", "--json", file], cwd=ROOT, check=True, timeout=150)

    rounds = json.loads(file.read_text())["stores"]["sqlite"]["rounds"]
    assert rounds["ours"].keys() > {"enqueue", "enqueue_many", "drain, 1 worker", "latency"}
    assert rounds["raw"]["drain"]["per_second"][0] > 0
