"""The JOBQUEUE setting: what it may hold, what is said about the rest, and that a test may change it."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta

import pytest
from django.test import override_settings

from django_jobqueue import ExponentialBackoff, NoRetry
from django_jobqueue.conf import Conf, conf, problems, unknown_key

WHOLE = ["CRASH_BUDGET", "MAX_PAYLOAD_BYTES", "MAX_RESULT_BYTES", "MAX_ERROR_CHARS", "PREFETCH_MAX"]
SECONDS = [
    *("POLL_INTERVAL", "PREFETCH_SECONDS", "FLUSH_SECONDS", "SHUTDOWN_GRACE", "KILL_AFTER", "AUTOSCALE_TARGET"),
    "TIMEOUT",
]


def test_without_the_setting_everything_has_its_default(settings):
    for nothing in (None, {}):
        settings.JOBQUEUE = nothing
        assert conf() == Conf()


def test_what_is_set_wins_and_the_rest_keeps_its_default(settings):
    settings.JOBQUEUE = {"CRASH_BUDGET": 7}
    assert conf() == Conf(CRASH_BUDGET=7)


def test_it_is_read_once():
    assert conf() is conf()


def test_a_changed_setting_is_seen_at_once_and_so_is_its_end():
    before = conf()
    with override_settings(JOBQUEUE={"POLL_INTERVAL": 0.25}):
        assert conf().POLL_INTERVAL == 0.25
    assert conf() == before


def test_an_unknown_key_is_for_check_to_tell_not_for_enqueue_to_choke_on(settings):
    settings.JOBQUEUE = {"CRASH_BUDGETT": 7, "CRASH_BUDGET": 2}
    assert conf().CRASH_BUDGET == 2


def test_the_defaults_are_without_problems():
    assert problems({}) == []
    assert problems({field.name: getattr(Conf(), field.name) for field in fields(Conf)}) == []


def test_every_number_is_tested_here():
    others = {"RETRY", "NOTIFY", "QUEUES", "WORKER_TOKENS", "KEEP_HISTORY", "KEEP_DEAD_LETTERS", "SCHEDULES"}
    assert {field.name for field in fields(Conf)} == {*WHOLE, *SECONDS, *others}


class TestProblems:
    @pytest.mark.parametrize("key", ["KEEP_HISTORY", "KEEP_DEAD_LETTERS"])
    def test_an_age_is_seconds_or_a_span_or_none(self, key):
        assert [problems({key: value}) for value in (None, 60, 0.5, timedelta(days=30))] == [[]] * 4
        for value in (0, -1, timedelta(0), "30d", True):
            (said,) = problems({key: value})
            assert said.startswith(f"JOBQUEUE['{key}'] must be ")

    def test_an_unknown_key_suggests_the_one_that_was_meant(self):
        assert problems({"CRASH_BUGDET": 3}) == [
            "JOBQUEUE has no key 'CRASH_BUGDET'. Did you mean 'CRASH_BUDGET'?",
        ]

    def test_or_lists_them_all(self):
        (text,) = problems({"xyz": 3})
        assert text.startswith("JOBQUEUE has no key 'xyz'. Known: AUTOSCALE_TARGET, CRASH_BUDGET, ")

    @pytest.mark.parametrize("key", [5, None, ("a", "b"), b"RETRY", "", "\ud800"])
    def test_whatever_the_key_is(self, key):
        assert len(problems({key: 1})) == 1

    @pytest.mark.parametrize("wrong", ["text", [], 5, None, [("RETRY", None)]])
    def test_no_dictionary(self, wrong):
        assert problems(wrong) == [f"JOBQUEUE must be a dictionary, not {type(wrong).__name__}."]

    @pytest.mark.parametrize("key", [*WHOLE, *SECONDS])
    @pytest.mark.parametrize("wrong", ["3", None, True, [], b"3"])
    def test_no_number(self, key, wrong):
        if (key, wrong) == ("TIMEOUT", None):
            assert problems({key: wrong}) == []
            return
        kind = "whole number" if key in WHOLE else "number"
        assert problems({key: wrong}) == [f"JOBQUEUE['{key}'] must be a {kind}, not {wrong!r}."]

    @pytest.mark.parametrize("key", WHOLE)
    def test_no_whole_number(self, key):
        assert problems({key: 3.5}) == [f"JOBQUEUE['{key}'] must be a whole number, not 3.5."]

    @pytest.mark.parametrize("key", [*WHOLE, *SECONDS])
    @pytest.mark.parametrize("wrong", [0, -1])
    def test_nothing_or_less(self, key, wrong):
        assert problems({key: wrong}) == [f"JOBQUEUE['{key}'] must be greater than zero, and finite, not {wrong}."]

    @pytest.mark.parametrize("key", SECONDS)
    @pytest.mark.parametrize("wrong", [float("inf"), float("nan"), -0.5])
    def test_no_span_of_time(self, key, wrong):
        assert problems({key: wrong}) == [f"JOBQUEUE['{key}'] must be greater than zero, and finite, not {wrong}."]

    @pytest.mark.parametrize("key", SECONDS)
    def test_whole_seconds_and_parts_of_one(self, key):
        assert problems({key: 3}) == problems({key: 0.001}) == []

    @pytest.mark.parametrize("wrong", [1, 0, None, "yes"])
    def test_no_switch(self, wrong):
        assert problems({"NOTIFY": wrong}) == [f"JOBQUEUE['NOTIFY'] must be True or False, not {wrong!r}."]

    @pytest.mark.parametrize("wrong", [3, "exponential", {"max_attempts": 3}, ExponentialBackoff, NoRetry])
    def test_no_strategy(self, wrong):
        (text,) = problems({"RETRY": wrong})
        assert text.startswith("JOBQUEUE['RETRY'] must be a retry strategy such as ExponentialBackoff(), not ")

    @pytest.mark.parametrize("right", [None, NoRetry(), ExponentialBackoff(max_attempts=9)])
    def test_a_strategy(self, right):
        assert problems({"RETRY": right}) == []

    @pytest.mark.parametrize(
        ("entry", "words"),
        [
            ({"profil": "api"}, "has no key 'profil'. Did you mean 'profile'?"),
            ({"profile": "apis"}, "['profile'] is none of the profiles 'api', 'pipeline', 'ml': 'apis'."),
            ({"timeout": "3"}, "['timeout'] must be a number, not '3'."),
            ({"timeout": 0}, "['timeout'] must be greater than zero, and finite, not 0."),
            ({"retry": 3}, "['retry'] must be a retry strategy such as ExponentialBackoff(), not 3."),
            ({"prefetch": 1.5}, "['prefetch'] must be a whole number, not 1.5."),
            ({"concurrency": -1}, "['concurrency'] must be greater than zero, and finite, not -1."),
            ({"memory_mb": True}, "['memory_mb'] must be a whole number, not True."),
        ],
    )
    def test_what_is_wrong_with_a_queue(self, entry, words):
        (text,) = problems({"QUEUES": {"emails": entry}})
        assert text.startswith("JOBQUEUE['QUEUES']['emails']")
        assert text.endswith(words)

    @pytest.mark.parametrize("wrong", [None, [], "emails", 3])
    def test_no_queues(self, wrong):
        assert len(problems({"QUEUES": wrong})) == 1
        assert len(problems({"QUEUES": {"emails": wrong}})) == 1

    def test_all_of_them_in_an_order_that_stays(self):
        wrong = {"SHUTDOWN_GRACE": 0, "unknown": 1, "CRASH_BUDGET": "3"}
        assert [text.split("'")[1] for text in problems(wrong)] == ["unknown", "CRASH_BUDGET", "SHUTDOWN_GRACE"]


def test_the_words_for_an_unknown_option():
    assert unknown_key("TASKS['default']['OPTIONS']", "databse", {"database", "lease"}) == (
        "TASKS['default']['OPTIONS'] has no key 'databse'. Did you mean 'database'?"
    )
