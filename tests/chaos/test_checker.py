"""The checker finds what it is there to find: books with one thing wrong in them, one after the other."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.chaos.books import Books, Row
from tests.chaos.checker import ZEROS, check, recoveries, resumptions
from tests.chaos.log import Execution, Log

LEASE = 1.5


def run(lease_no=1, start=10.0, end=10.5, worker="w1", pid=1, attempt=1):
    return Execution("a", lease_no, attempt, worker, pid, start, end)


def row(lease_no=1, outcome="completed", finished=10.6, worker="w1", attempt=1, result=None):
    return Row(lease_no, attempt, outcome, str(lease_no) if result is None else result, worker, finished)


@pytest.fixture
def books():
    """One job that was lost with its worker and completed by the next one: nothing wrong."""
    log = Log()
    log.runs["a"] = [run(end=None), run(2, 12.0, 12.5, "w2", 2)]
    log.beats.update({"w1": [9.0, 9.5], "w2": [11.0, 12.0]})
    books = Books(kinds={"a": "work"}, acked={"a"}, log=log, killed={1: [10.2]})
    books.history["a"] = [row(outcome="lost", finished=11.9, result=""), row(2, finished=12.6, worker="w2")]
    return books


def zeros(books):
    return {what for what, count in check(books, LEASE, 3).zeros.items() if count}


def test_books_that_agree(books):
    assert zeros(books) == set()
    assert check(books, LEASE, 3).figures["executions lost"] == 1


def test_an_atomic_job_with_its_effect(books):
    pay(books)
    assert zeros(books) == set()


def lose(books):
    del books.history["a"][1]


def roll_back(books):
    books.acked, books.void = set(), {"a"}


def make_up(books):
    books.history["b"] = [row()]


def end_twice(books):
    books.history["a"].append(row(3, finished=13.0))


def bury_what_completed(books):
    books.dead["a"] = SimpleNamespace(reason="exhausted")


def complete_what_must_die(books):
    books.kinds["a"] = "doomed"


def run_before_the_lease_is_over(books):
    books.killed.clear()
    books.log.beats["w1"].append(10.6)


def run_twice_under_one_lease(books):
    books.log.runs["a"].append(run(2, 13.0, 13.5, "w3", 3))


def complete_under_an_old_lease(books):
    books.history["a"] = [row(outcome="completed"), row(2, "lost", 12.6, "w2")]


def store_the_result_of_another(books):
    books.history["a"][1] = row(2, finished=12.6, worker="w2", result="1")


def complete_what_nobody_ran(books):
    books.log.runs["a"][1].end = None


def revive_a_dead_worker(books):
    books.log.beats["w1"].append(12.1)


def write_twice(books):
    pay(books)
    books.effects["a"].append(2)


def write_without_completing(books):
    pay(books)
    books.effects["a"] = [1, 2]


def complete_without_writing(books):
    pay(books)
    del books.effects["a"]


def pay(books):
    books.kinds["a"] = "paying"
    books.effects["a"] = [2]


def try_too_often(books):
    books.log.runs["a"][1].attempt = 4


def forget_the_budget(books):
    lost = [row(n, "lost", 10.0 + n, f"w{n}", result="") for n in range(1, 5)]
    books.history["a"] = [*lost, row(5, finished=20.0)]
    books.log.runs["a"] = [run(5, 19.0, 19.5)]


def bury_too_early(books):
    books.history["a"] = [row(outcome="lost", result="")]
    books.dead["a"] = SimpleNamespace(reason="worker_lost")


CASES = {
    lose: {"lost"},
    roll_back: {"phantom"},
    make_up: {"phantom"},
    end_twice: {"ended_twice", "stale"},
    bury_what_completed: {"ended_twice", "wrong_end"},
    complete_what_must_die: {"wrong_end"},
    run_before_the_lease_is_over: {"overlap"},
    run_twice_under_one_lease: {"lease_twice"},
    complete_under_an_old_lease: {"stale"},
    store_the_result_of_another: {"stale"},
    complete_what_nobody_ran: {"stale"},
    revive_a_dead_worker: {"stale"},
    write_twice: {"effects"},
    write_without_completing: {"effects"},
    complete_without_writing: {"effects"},
    try_too_often: {"attempts"},
    forget_the_budget: {"crashes"},
    bury_too_early: {"crashes"},
}


@pytest.mark.parametrize("spoil", CASES, ids=lambda one: one.__name__)
def test_what_is_wrong_is_found(books, spoil):
    spoil(books)
    assert CASES[spoil] <= zeros(books)


def test_every_count_has_a_case():
    assert set().union(*CASES.values()) == set(ZEROS)


def test_two_executions_after_the_lease_are_no_overlap(books):
    """A zombie may go on; that its lease was over is what matters, and that it changes nothing."""
    books.killed.clear()
    books.log.runs["a"][0].end = 13.0
    assert zeros(books) == set()


def test_recovery_is_counted_from_the_kill(books):
    assert recoveries(books) == ([pytest.approx(1.7)], [pytest.approx(1.8)])
    books.killed[1] = [11.95]  # it was lost before, frozen
    assert recoveries(books) == ([], [])


def test_work_after_an_outage(books):
    assert resumptions(books, [(11.0, 12.1), (20.0, 21.0)]) == [pytest.approx(0.4)]


def test_a_process_number_that_is_used_again(books):
    """The second process of that number was killed much later: the first one was dead before its job ran again."""
    books.log.beats["w1"] = [9.5, 11.5]
    assert zeros(books) == set()
    books.killed[1].append(100.0)
    assert zeros(books) == set()
    assert recoveries(books) == ([pytest.approx(1.7)], [pytest.approx(1.8)])
    books.killed[1] = [100.0]
    assert zeros(books) == {"overlap"}
