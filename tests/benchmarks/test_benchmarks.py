"""The benchmark still runs, and says what it means. No times are asserted: a busy machine must not fail a test.

No peer is installed for these tests; `make bench` does that.
"""

from __future__ import annotations

import inspect
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from tests.benchmarks import environments, pages, watch
from tests.benchmarks.__main__ import repeat
from tests.benchmarks.chart import chart
from tests.benchmarks.environments import ROOT, NotInstallable, digest, pinned, python_of
from tests.benchmarks.goals import GOALS, IDEALS, Verdict, verdicts
from tests.benchmarks.long_line import compared
from tests.benchmarks.measures import Measure, drained
from tests.benchmarks.pinned_snapshot import TITLE as PINNED
from tests.benchmarks.pinned_snapshot import waiting
from tests.benchmarks.processes import Failed
from tests.benchmarks.report import goals, missing, spread, table
from tests.benchmarks.systems import KINDS, PEERS
from tests.benchmarks.waits import WAITS, Wait, of_ideal

SECOND = 1_000_000_000  # in nanoseconds
Rounds = dict[str, dict[str, dict[str, list[float]]]]


def speed(*values: float) -> dict[str, list[float]]:
    return {"per_second": list(values)}


def of(store: str, rounds: Rounds) -> dict[str, Verdict]:
    found = verdicts({store: {"rounds": rounds, "counted": {}}})
    return {one.what: one for one in found if one.values}


# what is measured


def test_a_drain_is_timed_from_when_all_workers_are_at_work() -> None:
    first = {"started": [0, 1_000_000_000, 2_000_000_000], "ended": 3_000_000_000, "cpu_s": 0.1, "written": 50}
    second = {"started": [1_000_000_000, 2_000_000_000], "ended": 2_500_000_000, "cpu_s": 0.1, "written": 50}

    figures = drained([first, second], 5)

    assert figures["per_second"] == pytest.approx(4 / 2)  # the first start does not count: one worker was alone
    assert (figures["cpu_us"], figures["written"]) == (pytest.approx(0.2 / 5 * 1e6), 20)


def test_a_drain_that_lost_a_job_is_no_result() -> None:
    with pytest.raises(Failed, match="1 jobs ran, not 2"):
        drained([{"started": [1], "ended": 2, "cpu_s": 0.0, "written": 0}], 2)


def test_a_measurement_that_fails_costs_only_itself() -> None:
    def fail() -> dict[str, float]:
        raise Failed("a worker ended")

    figures: Rounds = {}
    redis, good = SimpleNamespace(name="redis"), Measure("rq", "drain, a", lambda: {"per_second": 1.0})

    todo = [(figures, redis, good), (figures, redis, Measure("rq", "drain, b", fail))]
    ended: list[int] = []
    repeat(todo, range(2), math.inf, broken := {}, ended.append)

    assert (ended, broken) == ([1, 2], {"rq on redis, drain, b": "a worker ended"})
    assert figures == {"rq": {"drain, a": speed(1.0, 1.0)}}


def test_what_stands_idle_while_jobs_wait_is_seen() -> None:
    wait = Wait("", "", seconds=1.0, at_once=2, options=(), rounds=0)
    busy = [{"started": [0, SECOND]}, {"started": [SECOND // 10, SECOND * 11 // 10]}]
    idle = [{"started": [0, SECOND, 2 * SECOND]}, {"started": [0]}]

    assert of_ideal(busy, 4, wait) == pytest.approx(2 / 2.05)
    assert of_ideal(idle, 4, wait) == pytest.approx(2 / 3)


def test_a_backlog_is_what_waits_most_of_the_time() -> None:
    """Ten jobs a second for three seconds: a worker that keeps up, one that halts once, one that falls behind."""
    sent = [SECOND // 10 * number for number in range(1, 31)]
    prompt = {"sent": [0, *sent], "started": [1, *(one + SECOND // 100 for one in sent)]}
    halts = {"sent": sent, "started": [*prompt["started"][1:27], *([max(sent)] * 4)]}
    slow = {"sent": sent, "started": [2 * one for one in sent]}

    assert waiting([prompt], 30) == pytest.approx({"backlog": 0, "worst": 1, "p50": 10, "p95": 10, "p99": 10})
    assert waiting([halts], 30) == pytest.approx({"backlog": 0, "worst": 3, "p50": 10, "p95": 300, "p99": 300})
    assert 10 < waiting([slow], 30)["backlog"] < 15
    with pytest.raises(Failed, match="30 jobs ran, not 31"):
        waiting([prompt], 31)


def test_claims_are_compared_by_their_medians() -> None:
    short, long = [{"us": us, "work": 8.0} for us in (90, 100, 500)], [{"us": us, "work": 8.0} for us in (90, 120, 150)]

    found = compared(short, long)

    assert (found["us_times"], found["work_times"]) == pytest.approx((1.2, 1.0))
    assert compared([{"us": 1.0, "work": 0.0}], [{"us": 1.0, "work": 0.0}])["work_times"] == 0.0


# goals


def test_a_ratio_is_taken_inside_a_round() -> None:
    ours = {"drain, 1 process": speed(100, 50), "drain, old rows": speed(100, 40)}
    peer = {"drain, 1 worker": speed(1, 1), "drain, 2 workers": speed(4, 2)}

    found = of("postgres", {"ours": ours, "django-tasks-db": peer})

    assert found["drain / django-tasks-db"].values == [25, 25]
    assert found["drain, old rows / without"].values == [1.0, 0.8]


def test_the_best_of_ours_is_compared_with_the_best_of_a_peer() -> None:
    ours = {
        "drain, record none, 1 process": speed(30, 40),
        "drain, record none, 2 processes": speed(40, 50),
        "drain, record all in SQLite, 1 process": speed(10, 30),
        "waiting job": {"bytes": [301.0, 301.0]},
    }

    found = of("redis", {"ours": ours, "huey": {"drain, 2 consumers of 4 threads": speed(10, 10)}})

    assert found["drain, record none / huey"].values == [4, 5]
    assert found["drain, record all / huey"].values == [1, 3]
    assert not found["memory of a waiting job of 200 bytes"].is_met
    assert "drain, record none / celery" not in found


def test_latency_is_compared_with_the_peer_that_is_best_at_it() -> None:
    quick, slow = {"p50": [1.0], "p99": [9.0]}, {"p50": [4.0], "p99": [5.0]}

    found = of("redis", {"ours": {"latency": slow}, "huey": {"latency": quick}, "rq": {"latency": slow}})

    assert found["latency, p50 / the best peer"].values == [4.0]
    assert found["latency, p99 / the best peer"].values == [1.0]


def test_a_store_is_compared_with_another_one() -> None:
    rates = {"mariadb": 5.0, "postgres": 20.0}
    stores = {name: {"rounds": {"ours": {"drain, 1 process": speed(rate)}}} for name, rate in rates.items()}

    [found] = [one for one in verdicts(stores) if one.what == "drain / ours on PostgreSQL"]

    assert found.values == [0.25]


def test_each_wait_has_a_goal() -> None:
    assert [what for what, _ in IDEALS] == [wait.title for wait in WAITS]


def test_a_missed_goal_is_said_and_so_is_one_without_figures() -> None:
    rounds = {"ours": {"drain, 1 process": speed(24.9)}, "django-tasks-db": {"drain, 1 worker": speed(1)}}

    said = goals({"stores": {"sqlite": {"rounds": rounds}}}).splitlines()

    assert [line.split("|")[-2].strip() for line in said if "/ django-tasks-db" in line] == ["NOT MET"]
    assert [line.split("|")[-2].strip() for line in said if "/ huey" in line] == ["not measured"]
    assert len(said) == 2 + sum(goal.store == "sqlite" for goal in GOALS)


def test_a_ratio_that_fell_is_warned_of(tmp_path) -> None:
    watch.record(results(rate=20.0, p50=2.0), tmp_path / "ratios.json")

    slower, quicker = results(rate=16.0, p50=2.2), results(rate=18.0, p50=2.5)

    assert "WARNING: postgres: drain / raw fell by 20%" in watch.comparison(slower, tmp_path / "ratios.json")
    assert "WARNING: postgres: latency, p50 / the best peer" in watch.comparison(quicker, tmp_path / "ratios.json")
    assert watch.comparison(slower, tmp_path / "ratios.json").count("WARNING") == 1
    assert "Nothing to compare with" in watch.comparison(slower, tmp_path / "none.json")


def results(rate: float, p50: float) -> dict:
    ours = {"drain, 1 process": speed(rate), "latency": {"p50": [p50], "p99": [p50]}}
    peer = {"latency": {"p50": [1.0], "p99": [99.0]}}
    rounds = {"ours": ours, "raw": {"drain, 2 connections": speed(20)}, "chancy": peer}
    about = {"cores": 2, "python": "Python 3", "django": "Django 6", "rounds": 1}
    return {"machine": about, "stores": {"postgres": {"rounds": rounds, "counted": {}}}}


# systems


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_system_says_how_it_is_measured(kind) -> None:
    source, systems = inspect.getsource(inspect.getmodule(kind)), [kind(store) for store in kind.stores]

    assert "recording.run" in source or "tests.benchmarks.tasks" in source or "TasksSystem" in source
    assert inspect.getmodule(kind).__doc__
    assert all(one.promise and one.left and one.setups for one in systems)
    assert all(len({setup.title for setup in one.setups}) == len(one.setups) for one in systems)


@pytest.mark.parametrize("kind", PEERS, ids=lambda kind: kind.__name__)
def test_a_peer_has_a_virtualenv_of_pinned_versions(kind) -> None:
    assert len(pinned(kind.packages)) >= len(kind.packages)


def test_no_peer_is_imported_by_the_benchmark_itself() -> None:
    peers = "'celery', 'chancy', 'dj_queue', 'dramatiq', 'huey', 'pgqueuer', 'procrastinate', 'rq', 'django'"
    code = f"import sys, tests.benchmarks.systems; sys.exit(len({{{peers}}} & set(sys.modules)))"

    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_another_version_is_another_virtualenv(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(environments, "PINS", tmp_path / "peers.txt")
    found = set()
    for pins in ("huey==1\nrq==1\n", "huey==2\nrq==1\n", "huey==2\nrq==2\n"):
        environments.PINS.write_text(pins)
        found.add(digest(("huey",)))

    assert len(found) == 2


def test_what_cannot_be_installed_is_reported(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(environments, "HOME", tmp_path)
    monkeypatch.setattr(environments.sys, "executable", "false")

    with pytest.raises(NotInstallable, match="rq can't be installed"):
        python_of("rq", ("rq",))
    assert missing({"machine": {"missing": {"rq": "rq can't be installed"}}}) == "Not measured: rq can't be installed."


# the page


def test_figures_are_written_with_their_spread() -> None:
    assert spread([3.0, 1.0, 2.0]) == "2 (1-3)"
    assert table(("a", "b"), [("1", "22")]) == "| a | b  |\n| - | -- |\n| 1 | 22 |"


def test_the_page_has_the_place_the_figures_are_written_to() -> None:
    page = (ROOT / pages.PAGE).read_text()

    assert page.count(pages.BEGIN) == page.count(pages.END) == 1
    assert page.index(pages.BEGIN) < page.index(pages.END)


def test_the_chart_shows_each_system_at_its_best() -> None:
    rounds = {
        "rq": {"drain, one": speed(5), "drain, <two>": speed(10, 12), "enqueue": speed(99)},
        "ours": {
            "drain, record none, 1 process": speed(40),
            "drain, record none, 2 processes": speed(50),
            "drain, record all in SQLite, 1 process": speed(20),
            "drain, old rows": speed(99),
        },
        "huey": {"latency": {"p50": [1.0]}},
    }

    svg = chart({"stores": {"redis": {"version": "Redis & Co", "rounds": rounds}}})

    ours = ["50 record none, 2 processes", "20 record all in SQLite, 1 process"]
    head = ["Redis & Co: jobs per second", "django_jobqueue", ours[0], "django_jobqueue", ours[1]]
    assert list(words(svg)) == [*head, "rq", "11 <two>"]
    assert "prefers-color-scheme: dark" in svg


def words(svg: str) -> Iterator[str]:
    for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):  # noqa: S314 (our own)
        yield "".join(element.itertext())


# all of it, small


def run_small(store: str, file, *what: str) -> dict:
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--jobs", "60", "--past", "60"]
    command += ["--delayed", "60", "--blocked", "60", "--waiting", "1200", "--pinned", "1"]
    chosen = ["--stores", store, "--systems", "ours,raw", "--json", file, "--what", *what]
    subprocess.run([*command, *chosen], cwd=ROOT, check=True, timeout=150)
    return json.loads(file.read_text())["stores"][store]


@pytest.mark.slow
def test_a_small_run_measures_on_sqlite(tmp_path) -> None:
    what = ("drain, 2 processes", "drain, 1 connection", "drain, old rows", "drain, blocked", "latency, half load")
    what += ("memory", "where", "scaling, jobs of 1 ms", "claim")

    rounds = run_small("sqlite", tmp_path / "results.json", *what)["rounds"]

    cpu, grown = (
        rounds["ours"].pop("where the time goes, 1 process"),
        rounds["ours"].pop("scaling, jobs of 1 ms of CPU"),
    )
    claim = rounds["ours"].pop("claim, long line")
    assert min(claim["us_short"][0], claim["us_long"][0]) > 0
    assert 0 < claim["work_times"][0] < 1.3
    assert min(cpu["client_us"][0], cpu["call_us"][0]) > 0
    assert 0 < cpu["total_us"][0] < 1e6
    assert grown["times"][0] == pytest.approx(grown["two"][0] / grown["one"][0])
    drains = {"drain, 2 processes", "drain, old rows", "drain, blocked jobs"}
    assert rounds["ours"].keys() == drains | {"latency, half load", "memory of a child"}
    assert all(rounds["ours"][what]["written"][0] > 1_000 for what in drains)
    assert rounds["raw"]["drain, 1 connection"]["per_second"][0] > 0
    assert rounds["ours"]["latency, half load"]["pss_mb"][0] > 10


@pytest.mark.slow
def test_a_run_goes_on_where_it_was_cut(tmp_path) -> None:
    file = tmp_path / "results.json"

    begun = run_small("sqlite", file, "enqueue_many")["rounds"]
    more = run_small("sqlite", file, "enqueue_many", "--more", "--rounds", "2")["rounds"]
    with pytest.raises(subprocess.CalledProcessError):
        run_small("sqlite", file, "enqueue", "--more", "--rounds", "3")

    first, both = (rounds["ours"]["enqueue_many"]["per_second"] for rounds in (begun, more))
    assert both[:1] == first
    assert len(both) == 2
    assert json.loads(file.read_text())["machine"]["rounds"] == 2


@pytest.mark.slow
@pytest.mark.postgres
def test_a_small_run_measures_on_postgres(tmp_path) -> None:
    rounds = run_small("postgres", tmp_path / "results.json", "a snapshot", "drain, blocked")["rounds"]["ours"]

    assert rounds[PINNED]["dead"][0] > 0
    assert rounds["drain, blocked jobs"]["pages"][0] > 1
    assert rounds[PINNED]["worst"][0] >= rounds[PINNED]["backlog"][0] >= 0


@pytest.mark.slow
@pytest.mark.redis
@pytest.mark.postgres
def test_a_small_run_measures_on_redis(tmp_path) -> None:
    what = (
        "drain, delayed jobs",
        "drain, long line",
        "drain, record all in PostgreSQL, 2 processes",
        "enqueue_many",
        "waiting job",
    )

    store = run_small("redis", tmp_path / "results.json", *what)

    rounds = store["rounds"]
    assert rounds["ours"].keys() == set(what)
    assert rounds["ours"]["waiting job"]["bytes"][0] > 200
    assert rounds["raw"]["enqueue_many"]["per_second"][0] > 0
    assert store["counted"]["ours"]["enqueue_many"]["round_trips"] < 1
