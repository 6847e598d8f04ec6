"""A pickle from a server is data of whoever can write there: its plain values are read, nothing in it is run."""

from __future__ import annotations

import os
import pickle
import random
from collections import OrderedDict
from datetime import datetime
from decimal import Decimal

import pytest

from django_jobqueue.scheduling.importers.pickled import MAX_BYTES, NotPlain, plain_value

PLAIN = [
    None,
    True,
    -5_000_000_000,
    10**300,
    2.5,
    "ü" * 300,
    b"bytes" * 100,
    (),
    (1,),
    (1, 2),
    (1, 2, 3),
    (1, 2, 3, 4),
    [],
    [1],
    list(range(2_000)),
    {},
    {"a": 1},
    {"a": {"b": [1, (2, "x"), None]}, "c": ["again", "again"], 7: False},
    ("shop.tasks.ship", None, (1, "x"), {"b": [1.5]}),
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", PLAIN, ids=lambda value: repr(value)[:20])
def test_plain_values_come_back(value, protocol):
    if protocol < 3 and isinstance(value, bytes):  # a call to codecs.encode, then
        with pytest.raises(NotPlain):
            plain_value(pickle.dumps(value, protocol))
        return
    found = plain_value(pickle.dumps(value, protocol))
    assert found == value
    assert type(found) is type(value)


class Bomb:
    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_is_run(tmp_path, protocol):
    Bomb.path = tmp_path / "boom"
    with pytest.raises(NotPlain, match="not only plain values"):
        plain_value(pickle.dumps(["x", Bomb()], protocol))
    assert not Bomb.path.exists()


@pytest.mark.parametrize("value", [datetime(2030, 1, 1), Decimal("1.5"), OrderedDict(a=1), {1, 2}, pytest.raises])
def test_other_values_are_refused(value):
    with pytest.raises(NotPlain):
        plain_value(pickle.dumps(value))


def test_a_long_one_is_refused():
    with pytest.raises(NotPlain, match="longer"):
        plain_value(pickle.dumps("x" * MAX_BYTES))


def test_damage_is_one_exception():
    random.seed(3)
    good = pickle.dumps(PLAIN)
    for _ in range(3_000):
        bad = bytearray(good[: random.randrange(len(good))])
        for _ in range(random.randrange(4)):
            if bad:
                bad[random.randrange(len(bad))] = random.randrange(256)
        try:
            plain_value(bytes(bad))
        except NotPlain:
            pass
