"""P1 to P5 and P11 under chaos, the short form: 3,000 jobs and 50 faults on each store. The long one: `make chaos`."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.chaos.plan import STORES

FORGOTTEN = ("_URL", "_DIR", "_DATABASE_NAMES")
"""A run has servers and databases of its own, not those of this test run."""


def run_apart(*command: str, seconds: float = 400.0) -> tuple[int, str]:
    """A program of this directory in a process of its own; its exit code and all that it printed."""
    ours = {name: value for name, value in os.environ.items() if name != "PYTEST_XDIST_WORKER"}
    env = {
        name: value for name, value in ours.items() if not (name.startswith("JOBQUEUE_") and name.endswith(FORGOTTEN))
    }
    done = subprocess.run(
        [sys.executable, "-m", *command],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    "store", [pytest.param(name, marks=[getattr(pytest.mark, name)] if name != "sqlite" else []) for name in STORES]
)
def test_nothing_is_lost_and_nothing_is_done_twice(store, tmp_path):
    figures = tmp_path / "report.json"
    code, said = run_apart("tests.chaos", "--store", store, "--json", str(figures))
    assert code == 0, said
    report = json.loads(figures.read_text())
    assert not any(report["zeros"].values())
    assert sum(report["landed"].values()) >= 45
    assert report["figures"]["jobs acknowledged"] >= 3_000
    assert report["figures"]["stale settlements refused"] > 0
