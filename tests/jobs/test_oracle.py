"""A sample of `make oracle`, which compares every zone and every change of the clocks; and what the oracle can see."""

from __future__ import annotations

import random
import time

import pytest

from django_jobqueue.jobs import daylight, schedule
from tests.jobs import oracle

ODD = ("Australia/Lord_Howe", "Africa/Cairo", "America/Nuuk", "Africa/Casablanca", "Asia/Gaza", "Antarctica/Troll")


SAMOA = oracle.Change("Pacific/Apia", moment=1_325_239_200, shift=24 * oracle.HOUR)  # no 30 December 2011


def test_no_minute_differs_from_the_oracle():
    dice = random.Random(time.time_ns())
    found = [change for name in (dice.choice(ODD), dice.choice(oracle.zones())) for change in oracle.changes(name)]
    sample = [(change, dice.sample(oracle.EXPRESSIONS, 12)) for change in dice.sample(found, min(4, len(found)))]
    sample.append((SAMOA, ["30 2 * * *", "0 */2 * * *", "0 0 * * *", dice.choice(oracle.EXPRESSIONS)]))
    assert [text for change, expressions in sample for text in oracle.differences(change, expressions)] == []


BERLIN = [
    oracle.Change("Europe/Berlin", moment=1_774_746_000, shift=3600),  # 29 March 2026
    oracle.Change("Europe/Berlin", moment=1_792_890_000, shift=-3600),  # 25 October 2026
]


def test_the_changes_are_found():
    assert [
        change for change in oracle.changes("Europe/Berlin") if 1_770_000_000 < change.moment < 1_800_000_000
    ] == BERLIN


@pytest.mark.parametrize("change", BERLIN, ids=["spring", "autumn"])
def test_no_minute_of_the_two_nights_in_berlin_differs(change):
    assert [*oracle.differences(change, oracle.EXPRESSIONS)] == []


@pytest.fixture
def forget():
    def clear():
        schedule._next_after.cache_clear()
        schedule._last_until.cache_clear()

    yield clear
    clear()


AS_A_RHYTHM = {"_next_fixed": daylight._next_real, "_last_fixed": daylight._last_real}
AS_FIXED = {"_next_real": daylight._next_fixed, "_last_real": daylight._last_fixed}
SPRING, AUTUMN = BERLIN


@pytest.mark.parametrize(
    ("change", "expression", "broken"),
    [
        pytest.param(AUTUMN, "30 2 * * *", AS_A_RHYTHM, id="fires twice"),
        pytest.param(SPRING, "30 2 * * *", AS_A_RHYTHM, id="does not fire"),
        pytest.param(AUTUMN, "*/30 * * * *", AS_FIXED, id="pauses for an hour"),
        pytest.param(AUTUMN, "30 2 * * *", {"_furthest_shown": daylight.shown_at}, id="fires again after a restart"),
    ],
)
def test_the_oracle_sees_what_other_crons_do_wrong(forget, monkeypatch, change, expression, broken):
    assert [*oracle.differences(change, [expression])] == []
    for name, function in broken.items():
        monkeypatch.setattr(daylight, name, function)
    forget()
    assert [*oracle.differences(change, [expression])] != []
