"""What is read in a cron expression, what is refused, and what is said of it."""

from __future__ import annotations

import random
import time
from collections import defaultdict

import pytest

from django_jobqueue import cron
from django_jobqueue.exceptions import InvalidSchedule
from django_jobqueue.jobs.cron import day_numbers, parse
from tests.jobs import fuzz

REFUSED = [
    ("", "0 fields; write 5: (minute) (hour) (day of the month) (month) (day of the week)"),
    ("* * * *", "4 fields"),
    ("0 0 8 * * 1", "6 fields; write 5: (minute) (hour) (day of the month) (month) (day of the week). Six are read"),
    ("0 0 1 1 * 0 2030", "There is none for the year"),
    ("R * * * *", "random value would differ between processes. Give the schedule a jitter"),
    ("H H * * *", "jitter"),
    ("h(0-29)/10 * * * *", "jitter"),
    ("0 0 ? * 1", "'?' is no day of the month. Write * for any"),
    ("60 * * * *", "'60' is no minute. Write 0 to 59"),
    ("0 24 * * *", "'24' is no hour. Write 0 to 23"),
    ("0 0 0 * *", "'0' is no day of the month. Write 1 to 31, L (the last)"),
    ("0 0 * 13 *", "'13' is no month. Write 1 to 12 or jan to dec"),
    ("0 0 * * 8", "'8' is no day of the week. Write 0 to 7 or sun to sat"),
    ("0 0 31 2 *", "never fires: there is no day '31' in month '2'"),
    ("0 0 31 2,4 *", "never fires"),
    ("0 0 30 feb *", "never fires"),
    ("*/90 * * * *", "A step starts anew with each hour. Write every(minutes=90)"),
    ("0 */36 * * *", "Write every(hours=36)"),
    ("*/0 * * * *", "A step is from 1 to 59"),
    ("0 5-5 * * *", "Some crons take it for all values. Write 5"),
    ("0 0 * * 7-2", "at the beginning it is 0"),
    ("0 22-4/3 * * *", "Write the values as a list"),
    ("*,5 * * * *", "leave out the others"),
    ("0 0 */2 * 1", "some crons take that for 'and', others for 'or'"),
    ("0 0 1 * */2", "some crons take that for 'and', others for 'or'"),
    ("0 0 1,*/7 * 1", "some crons take that for 'and', others for 'or'"),
    ("0 0 1 * 5#2", "Write two schedules"),
    ("0 0 1W * 3", "Write two schedules"),
    ("0 0 15W,3 * *", "can't be in a list"),
    ("a b c d e", "'a' is no minute"),
    ("1,,2 * * * *", "'' is no minute"),
    ("-1 * * * *", "'-1' is no minute"),
    ("\u0663 * * * *", "characters that no cron knows"),
    ("0 0 * *\u3000*", "characters that no cron knows"),
    ("0 0 * *\n*", "characters that no cron knows"),
    ("*" * 201, "200 characters at most; this one has 201"),
    ("@reboot", "There is no @reboot"),
    ("@every 5m", "Write every(minutes=10)"),
    ("@often", "none of @yearly"),
    (None, "expression is a text, not NoneType"),
    (b"* * * * *", "a text, not bytes"),
    (["*"] * 5, "a text, not list"),
]


@pytest.mark.parametrize(("expression", "said"), REFUSED)
def test_what_is_unclear_is_refused_with_what_to_write(expression, said):
    with pytest.raises(InvalidSchedule) as caught:
        cron(expression, "UTC")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 400


def test_seconds_are_read_when_asked_for_and_stand_first():
    pattern = parse("15,45 30 8 * * *", with_seconds=True)
    assert (pattern.seconds, pattern.minutes, pattern.hours) == ((15, 45), (30,), (8,))
    with pytest.raises(InvalidSchedule, match=r"5 fields; write 6: \(second\) \(minute"):
        cron("30 8 * * *", "UTC", seconds=True)
    assert parse("@daily", with_seconds=True) == parse("@daily")


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        *[("@hourly", "0 * * * *"), ("@DAILY", "0 0 * * *"), ("@midnight", "0 0 * * *"), ("@weekly", "0 0 * * 0")],
        *[("@monthly", "0 0 1 * *"), ("@yearly", "0 0 1 1 *"), ("@annually", "0 0 1 1 *")],
    ],
)
def test_names_stand_for_expressions(name, expression):
    assert parse(name) == parse(expression)


def test_a_time_is_fixed_when_neither_minute_nor_hour_has_a_star():
    assert [text for text in ("0 2 * * *", "0-59 0-23 * * *", "5/10 2 * * *") if not parse(text).is_fixed] == []
    assert [text for text in ("* 2 * * *", "0 * * * *", "*/5 2 * * *", "0 */2 * * *") if parse(text).is_fixed] == []


def test_lists_may_have_steps():
    assert parse("*/20,7 * * * *").minutes == (0, 7, 20, 40)
    assert parse("0 1-3,*/12 * * *").hours == (0, 1, 2, 3, 12)


WORDS = [
    ("0 8 * * 1-5", "weekdays at 08:00"),
    ("0 0 1 * *", "on the 1st of each month at 00:00"),
    ("@daily", "every day at 00:00"),
    ("@hourly", "every hour"),
    ("@weekly", "Sundays at 00:00"),
    ("@yearly", "on the 1st of January at 00:00"),
    ("* * * * *", "every minute"),
    ("*/10 * * * *", "every 10 minutes"),
    ("0,15,30,45 * * * *", "every 15 minutes"),
    ("15 * * * *", "every hour at minute 15"),
    ("5 */3 * * *", "every 3 hours from 00:05"),
    ("0 9-17 * * *", "every hour from 09:00 to 17:00"),
    ("*/15 9-17 * * 1-5", "every 15 minutes from 09:00 to 17:45, weekdays"),
    ("* 2 * * *", "every minute from 02:00 to 02:59"),
    ("0 8,17 * * *", "every day at 08:00 and 17:00"),
    ("0,30 8,9 * * mon", "Mondays at 08:00, 08:30, 09:00 and 09:30"),
    ("0 8 * * 5-7", "Fridays, Saturdays and Sundays at 08:00"),
    ("0 8 * * 0,6", "weekends at 08:00"),
    ("0 8 * * 0-6", "every day at 08:00"),
    ("0 0 L * *", "on the last day of each month at 00:00"),
    ("0 0 1,L * *", "on the 1st and last day of each month at 00:00"),
    ("0 0 15W * *", "on the weekday nearest to the 15th of each month at 00:00"),
    ("0 0 1-7 * *", "on the 1st to 7th of each month at 00:00"),
    ("0 0 2,3,22,23 1,7 *", "on the 2nd, 3rd, 22nd and 23rd of January and July at 00:00"),
    ("0 9 * * 5#2", "on the second Friday of each month at 09:00"),
    ("0 9 * 1-6 L5", "on the last Friday of January to June at 09:00"),
    ("0 0 13 * 5", "on the 13th of each month and on Fridays at 00:00"),
    ("0 8 * 12 *", "every day in December at 08:00"),
    ("* * * * sun", "every minute, Sundays"),
    # what is no sentence
    ("*/7 * * * *", "cron */7 * * * *"),
    ("0,30 9-17 * * *", "cron 0,30 9-17 * * *"),
    ("0 */5 * * *", "cron 0 */5 * * *"),
    ("0 0 13 1 5", "cron 0 0 13 1 5"),
    ("0 0 */2 * *", "cron 0 0 */2 * *"),
]


@pytest.mark.parametrize(("expression", "words"), WORDS)
def test_a_schedule_says_itself_in_words(expression, words):
    assert str(cron(expression, "Europe/Berlin")) == f"{words}, Europe/Berlin"


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("*/10 * * * * *", "every 10 seconds, UTC"),
        ("30 0 8 * * *", "every day at 08:00:30, UTC"),
        ("0 0 8 * * 1-5", "weekdays at 08:00, UTC"),
        ("* * 3 * * *", "cron * * 3 * * *, UTC"),
    ],
)
def test_seconds_are_said_too(expression, words):
    assert str(cron(expression, "UTC", seconds=True)) == words


def test_the_same_words_are_said_of_the_same_times_only():
    dice, meanings = random.Random(5), defaultdict(set)
    choices = [
        ("0", "30", "*", "*/2", "*/15", "0,15,30,45", "0-59"),
        ("0", "8", "*", "*/2", "0-23", "9-17", "0,12"),
        ("*", "1", "15W", "L", "1-7", "1,L"),
        ("*", "1", "jan", "1-12", "6,7", "5-8"),
        ("*", "1-5", "0,6", "sun", "7", "0-6", "5-7", "1#2", "L1"),
    ]
    for _ in range(1200):
        text = " ".join(dice.choice(field) for field in choices)
        try:
            words = str(cron(text, "UTC"))
        except InvalidSchedule:
            continue
        if not words.startswith("cron "):
            pattern, (_, _, day, _, weekday) = parse(text), text.split()
            special = [field for field in (day, weekday) if field in ("15W", "1#2", "L1")]
            days = str(day_numbers(pattern.days)).replace("[0, 1, 2, 3, 4, 5, 6]", "['*']")
            meanings[words].add((pattern.seconds, pattern.minutes, pattern.hours, pattern.is_fixed, days, *special))
    assert len(meanings) > 100
    assert {words: found for words, found in meanings.items() if len(found) > 1} == {}


def test_nonsense_is_refused_and_the_rest_means_what_the_oracle_reads():
    """`make fuzz` tries two hundred thousand, and looks at the clock."""
    dice = random.Random(time.time_ns())
    found = [fuzz.fault(dice, fuzz.any_text(dice)) for _ in range(1500)]
    assert [fault for fault in found if fault] == []
    assert "" in found
