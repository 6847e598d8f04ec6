"""A line behind a crowd of dead tuples: claims begin where the last one stopped, and nothing is passed over."""

from __future__ import annotations

import pytest
from django.db import connections

from django_jobqueue.queues.orm import OrmQueue, crowd, postgresql
from tests.queues.hooks import claim, jobs, joined

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "postgres"])]


def dead(count=crowd.CROWD + 1):
    return lambda: count


# what is known of a line


def test_a_look_that_was_quick_or_met_no_crowd_leaves_no_place():
    one = crowd.Crowd()
    one.saw_line("quick", (0, 7), 0.001, dead())
    one.saw_line("small", (0, 7), 1.0, dead(10))
    assert one.place("quick") is one.place("small") is None
    assert one.places() == {}


def test_a_place_holds_for_so_many_times_as_long_as_it_took_to_find(monkeypatch):
    now = 1_000.0
    monkeypatch.setattr(crowd.time, "monotonic", lambda: now)
    one = crowd.Crowd()
    one.saw_line("line", (3, 7), 0.5, dead())
    one.saw_names(["line"], 0.5, dead())
    now += 0.49 * crowd.SHARE
    assert one.place("line")[:2] == (3, 7)
    assert one.names() == ["line"]
    now += 0.02 * crowd.SHARE
    assert one.place("line") is None
    assert one.names() == []


def test_jobs_of_a_higher_priority_say_nothing_of_the_place():
    one = crowd.Crowd()
    one.saw_line("line", (3, 7), 1.0, dead())
    place = one.place("line")
    one.moved_on("line", place, (3, 9))
    one.moved_on("line", place, (5, 20))
    assert one.place("line")[:2] == (3, 9)


# claims


@pytest.fixture
def crowded(monkeypatch):
    """Every look at a line meets a crowd, and its place holds for the whole test."""
    monkeypatch.setattr(crowd, "_crowds", {})
    monkeypatch.setattr(crowd, "SLOW_SECONDS", -1.0)
    monkeypatch.setattr(crowd, "CROWD", -1)
    monkeypatch.setattr(crowd, "SHARE", 1e9)
    queue = OrmQueue("postgres", database="postgres")
    yield queue
    queue.close()


def taken(queue, worker, limit, queues=("default",)):
    return [one.job_id for one in queue.reserve(queues, limit, worker)]


@pytest.mark.parametrize("queues", [("default",), ()], ids=["named", "all"])
def test_the_line_is_taken_in_order_and_to_its_end(crowded, queues):
    worker = joined(crowded)
    low = crowded.push(*jobs(3, priority=-1))
    ids = crowded.push(*jobs(5))
    assert taken(crowded, worker, 2, queues) == ids[:2]
    assert crowd.crowd_of("postgres").place("default").priority == 0
    assert taken(crowded, worker, 2, queues) == ids[2:4]
    high = crowded.push(*jobs(2, priority=5))
    assert taken(crowded, worker, 1, queues) == high[:1], "a higher priority goes first"
    assert taken(crowded, worker, 9, queues) == [high[1], ids[4]]
    assert taken(crowded, worker, 9, queues) == low, "nothing else was found: now the whole line is looked at"
    assert taken(crowded, worker, 9, queues) == []
    last = crowded.push(*jobs(1, priority=-9))
    assert taken(crowded, worker, 9, queues) == last


def test_who_came_back_to_its_place_is_seen_by_the_next_look_at_the_whole_line(crowded):
    worker, other = joined(crowded), joined(crowded)
    ids = crowded.push(*jobs(6))
    taken(crowded, other, 1)
    assert taken(crowded, worker, 2) == ids[1:3]
    crowded.leave(other)
    assert taken(crowded, worker, 1) == ids[3:4]
    crowd._crowds.clear()  # its time is over
    assert taken(crowded, worker, 3) == [ids[0], *ids[4:]]


@pytest.mark.parametrize("than", [">", "="])
def test_the_plan_reads_nothing_that_is_before_the_place(crowded, than):
    worker = joined(crowded)
    crowded.push(*jobs(500))
    with connections["postgres"].cursor() as cursor:
        cursor.execute("ANALYZE")
    assert claim(crowded, 1, worker)
    place = crowd.crowd_of("postgres").place("default")
    where = ["default", place.priority, place.seq]
    rows = crowded._dialect().fast_rows(f"EXPLAIN {postgresql._CLAIM_FROM[than == '=']}", [*where, worker, 1, worker])
    text = "\n".join(row[0] for row in rows)
    condition = next(line for line in text.splitlines() if "Index Cond" in line)
    assert "jobqueue_ready_line" in text
    assert "queue" in condition
    assert f"priority {than}" in condition
    assert "seq >=" in condition


def test_dead_tuples_are_counted(crowded):
    assert crowded._dialect()._dead_tuples() >= 0
