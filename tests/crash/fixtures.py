"""The fixtures of tests with real processes: a store, and whatever is started around it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.crash.processes import Stage


def _store(alias: str, name: str, *marks: Any) -> Any:
    databases = sorted({"default", alias})
    return pytest.param(alias, id=name, marks=[*marks, pytest.mark.django_db(transaction=True, databases=databases)])


SQLITE = _store("default", "sqlite")
POSTGRES = _store("postgres", "postgres")
MARIADB = _store("mariadb", "mariadb")

on_sqlite = pytest.mark.parametrize("alias", [SQLITE])
on_postgres = pytest.mark.parametrize("alias", [POSTGRES])
on_both = pytest.mark.parametrize("alias", [SQLITE, POSTGRES])
on_all = pytest.mark.parametrize("alias", [SQLITE, POSTGRES, MARIADB])


@pytest.fixture
def alias() -> str:
    return "default"


@pytest.fixture
def open_stage(request, alias, tmp_path, child_env, monkeypatch):
    """`open_stage(lease=seconds)`: the store of this test with a ledger; its processes end with the test."""
    request.getfixturevalue("transactional_db")
    stages: list[Stage] = []

    def open_one(lease: float = 30.0) -> Stage:
        stages.append(Stage(alias, tmp_path, child_env, lease))
        monkeypatch.setenv("JOBQUEUE_TEST_LEDGER", str(stages[0].ledger))
        return stages[0]

    yield open_one
    for stage in stages:
        stage.close()
