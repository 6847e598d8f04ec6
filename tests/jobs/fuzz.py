"""Cron strings from nonsense to almost right: nothing but InvalidSchedule may come of them, quickly.

What is accepted must mean what the oracle reads in it. `python -m tests.jobs.fuzz` (`make fuzz`) tries 200,000 strings
and fails when one of them takes more than 50 ms of processor time.
"""

from __future__ import annotations

import argparse
import random
import string
import sys
import time
from datetime import UTC, datetime, timedelta

from django_jobqueue.exceptions import InvalidSchedule
from django_jobqueue.jobs import cron, cron_fields
from django_jobqueue.jobs.schedule import Cron
from tests.jobs.oracle import Named

ZONES = ("UTC", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca")
MOST_MS = 50
PIECES = """
    * ? L W H R 0 1 5 7 15 31 59 60 99 jan dec sun sat mon-fri */5 */0 5/15 1-5 5-1 5-5 22-4/3 1#5 5#2 L5 15W
    @daily @reboot @every h(1-5)/2 r/2 1,2,3 *,* 0-59 0-6 -1 00 007 1e3 \u0663 1_0 # , / - 9999999999999999999999
"""
WORDS = (*PIECES.split(), "\u2003", "\x00", "\n", "")
LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def any_text(dice: random.Random) -> str:
    kind = dice.random()
    if kind < 0.1:
        return "".join(dice.choices(string.printable, k=dice.randint(0, 220)))
    if kind < 0.3:
        return " ".join(dice.choices(WORDS, k=dice.choice((1, 4, 5, 5, 5, 6, 7))))
    text = " ".join(field(dice, low, high) for low, high in LIMITS)
    if kind < 0.4:
        text = f"{field(dice, 0, 59)} {text}"
    return mutated(dice, text) if kind < 0.6 else text


def field(dice: random.Random, low: int, high: int) -> str:
    if dice.random() < 0.4:
        return "*"
    return ",".join(item(dice, low, high) for _ in range(1 if dice.random() < 0.8 else dice.randint(2, 40)))


def item(dice: random.Random, low: int, high: int) -> str:
    first, last, step = dice.randint(low, high), dice.randint(low, high), dice.randint(1, high)
    special = {31: ("L", f"{first}W"), 7: (f"{first}#{dice.randint(1, 5)}", f"L{first}")}.get(high, ())
    plain = (f"{first}", f"{first}-{last}", f"{first}-{last}/{step}", f"{first}/{step}", f"*/{step}")
    return dice.choice((*plain, *special))


def mutated(dice: random.Random, text: str) -> str:
    place = dice.randint(0, len(text))
    return text[:place] + dice.choice((*string.printable, *WORDS)) + text[place + dice.randint(0, 2) :]


def fault(dice: random.Random, text: str) -> str | None:
    """What is wrong with how a string is taken; "" when it was accepted and is fine, None when it was refused."""
    with_seconds = len(text.split()) == 6
    try:
        schedule = Cron(text, dice.choice(ZONES), with_seconds)
    except InvalidSchedule as refusal:
        return None if 20 < len(str(refusal)) < 600 else f"{text!r}: no help in {refusal}"
    moment = datetime(2000, 1, 1, tzinfo=UTC) + timedelta(seconds=dice.randint(0, 1_200_000_000))
    tick = schedule.next_after(moment)
    if tick is None or tick <= moment or schedule.last_until(tick) != tick or not str(schedule):
        return f"{text!r} after {moment}: {tick}"
    if with_seconds or schedule.expression.startswith("@"):
        return ""
    wanted = Named(plain(schedule.expression)).first_after(moment.replace(tzinfo=None, second=0))
    found = Cron(text).next_after(moment.replace(second=0))
    return "" if found == wanted.replace(tzinfo=UTC) else f"{text!r} after {moment}: {found}, the oracle says {wanted}"


def plain(expression: str) -> str:
    return expression.lower().replace("l", "L").replace("w", "W").replace("juL", "jul").replace("Wed", "wed")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    dice, accepted, faults, slowest = random.Random(options.seed), 0, [], (0.0, "")
    for _ in range(options.count):
        text = any_text(dice)
        slowest = max(slowest, (cost_ms(text), text))
        found = fault(dice, text)
        accepted += found == ""
        faults += [found] if found else []
    print(*faults[:20], sep="\n", end="\n" * bool(faults))
    print(
        f"{options.count:,} strings, {accepted:,} accepted, {len(faults)} faults; "
        f"the slowest took {slowest[0]:.1f} ms: {slowest[1]!r}"
    )
    return 1 if faults or slowest[0] > MOST_MS else 0


def cost_ms(text: str) -> float:
    """Reading a string and finding the first tick and the last, nothing of it remembered, in processor time."""
    for remembered in (cron_fields._fault, cron._numbers, cron._can_come, cron._first_day, cron._last_day):
        remembered.cache_clear()
    begun = time.thread_time()
    try:
        schedule = Cron(text, "Europe/Berlin", len(text.split()) == 6)
        schedule.next_after(datetime(2026, 3, 1, tzinfo=UTC))
        schedule.last_until(datetime(2026, 3, 1, tzinfo=UTC))
    except InvalidSchedule:
        pass
    return (time.thread_time() - begun) * 1000


if __name__ == "__main__":
    sys.exit(main())
