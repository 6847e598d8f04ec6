"""Where a run takes place: a directory, the server of one store, its empty databases. It sets up Django, once.

The programs that measure one promise stand on it, too, with `each_store` for their command line.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, Self

from tests.chaos import stores
from tests.chaos.plan import STORES
from tests.servers.rooms import make_directory


class Ground:
    """`store` is one of `STORES`; `lease` in seconds. `keep`: the directory stays."""

    def __init__(self, store: str, lease: float, keep: bool = False) -> None:
        self.lease = lease
        self.keep = keep
        self.directory = make_directory()
        self.files = self.directory / "files"
        os.environ["JOBQUEUE_TEST_DIR"] = str(self.files)
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.chaos.settings"
        os.environ["JOBQUEUE_TEST_LEASE"] = str(lease)
        self.store = stores.KINDS[store](self.directory)
        os.environ["JOBQUEUE_TEST_ALIAS"] = self.store.alias

    def __enter__(self) -> Self:
        self.store.start()
        self.store.publish()
        return self

    def __exit__(self, *_: object) -> None:
        self.store.stop()
        if self.keep:
            print(f"kept: {self.directory}", flush=True)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def open_stage(self) -> Any:
        """Its databases are new and empty."""
        import django

        django.setup()
        from django.db import connections

        from tests.crash.processes import Stage
        from tests.crash.redis_stage import RedisStage

        aliases = ["default"] if self.store.alias == "redis" else sorted({"default", self.store.alias})
        names = {alias: connections[alias].creation.create_test_db(verbosity=0) for alias in aliases}
        os.environ["JOBQUEUE_TEST_SQLITE"] = names["default"]
        env = os.environ | {"JOBQUEUE_TEST_DATABASE_NAMES": json.dumps(names)}
        if self.store.alias == "redis":
            stage: Any = RedisStage("redis", self.files, env, self.lease, self.store.server.url)
        else:
            stage = Stage(self.store.alias, self.files, env, self.lease)
        stage.env |= {"DJANGO_SETTINGS_MODULE": "tests.chaos.settings"}
        return stage


def each_store(
    module: str,
    run: Callable[[argparse.Namespace], list[str]],
    parser: argparse.ArgumentParser,
    known: Sequence[str] = STORES,
) -> int:
    """Run a program for one store after the other, each in a process of its own; 1 when one of them had problems."""
    parser.prog = f"python -m {module}"
    parser.add_argument("--store", default=",".join(known), help="Some of %(default)s (default: all, in turn).")
    given = parser.parse_args()
    wanted = given.store.split(",")
    if unknown := set(wanted) - set(known):
        parser.error(f"--store: {', '.join(sorted(unknown))} is none of {', '.join(known)}")
    if len(wanted) > 1:
        rest = [word for word in sys.argv[1:] if word not in ("--store", given.store)]
        return max(subprocess.call([sys.executable, "-m", module, *rest, "--store", name]) for name in wanted)
    problems = run(given)
    for problem in problems:
        print(f"  RED: {problem}", flush=True)
    return 1 if problems else 0


def quantiles(what: str, values: list[float]) -> dict[str, Any]:
    if not values:
        return {what: "none"}
    p50, p99 = values[len(values) // 2], values[min(len(values) - 1, int(len(values) * 0.99))]
    return {what: f"p50 {p50:.2f} s, p99 {p99:.2f} s, max {values[-1]:.2f} s ({len(values)})"}
