"""The fixtures of tests with real processes: a store, and whatever is started around it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.crash.books import KINDS, LEASE, Books
from tests.crash.processes import Stage
from tests.crash.redis_stage import RedisStage


def _store(alias: str, *marks: Any, name: str = "", database: str = "") -> Any:
    databases = sorted({"default", database or alias})
    in_database = pytest.mark.django_db(transaction=True, databases=databases)
    return pytest.param(alias, id=name or alias, marks=[*marks, in_database])


SQLITE = _store("default", name="sqlite")
POSTGRES = _store("postgres")
MARIADB = _store("mariadb")
REDIS = _store("redis", pytest.mark.redis, database="default")
REDIS62 = _store("redis62", pytest.mark.redis62, database="default")

# One script of Redis is one transaction: nobody can be killed in the middle of it.
ONLY_ON_A_DATABASE = {
    *("enqueue.before_commit", "promote.before_commit", "claim.before_commit", "reclaim.before_commit"),
    *("settle.half_written", "settle.before_commit", "leave.before_commit"),
    *("declare_dead.before_commit", "request_cancel.before_commit", "age.before_commit"),
}
ONLY_ON_A_DATABASE |= {"atomic.before_commit", "atomic.committed"}
ONLY_ON_REDIS = {"record.before", "record.committed", "outbox.before_commit", "outbox.committed", "outbox.delivered"}


def at_points(stores: list[Any], points: list[Any], name: str = "point") -> pytest.MarkDecorator:
    """Each of `points`, names or cases that have one, on each store that has it."""
    return pytest.mark.parametrize(
        ("alias", name),
        [
            pytest.param(*store.values, one, id=f"{getattr(one, 'name', one)}-{store.id}", marks=store.marks)
            for one in points
            for store in stores
            if getattr(one, "point", one) not in (ONLY_ON_A_DATABASE if store in (REDIS, REDIS62) else ONLY_ON_REDIS)
        ],
    )


on_sqlite = pytest.mark.parametrize("alias", [SQLITE])
on_postgres = pytest.mark.parametrize("alias", [POSTGRES])
on_redis = pytest.mark.parametrize("alias", [REDIS])
MOST = [SQLITE, POSTGRES, REDIS]
on_most = pytest.mark.parametrize("alias", MOST)
on_all = pytest.mark.parametrize("alias", [SQLITE, POSTGRES, MARIADB, REDIS])


@pytest.fixture
def alias() -> str:
    return "default"


@pytest.fixture
def open_stage(request, alias, tmp_path, child_env, monkeypatch):
    """`open_stage(lease=seconds)`: the store of this test with a ledger; its processes end with the test.

    `server` is the address of a Redis of the test's own.
    """
    request.getfixturevalue("transactional_db")
    stages: list[Stage] = []

    def open_one(lease: float = 30.0, **server: str) -> Any:
        kind = RedisStage if alias.startswith("redis") else Stage
        stages.append(kind(alias, tmp_path, child_env, lease, **server))
        monkeypatch.setenv("JOBQUEUE_TEST_LEDGER", str(stages[0].ledger))
        return stages[0]

    yield open_one
    for stage in stages:
        stage.close()


@pytest.fixture
def books(open_stage, monkeypatch):
    monkeypatch.setitem(KINDS, "head", "work")
    return Books(open_stage(lease=LEASE))
