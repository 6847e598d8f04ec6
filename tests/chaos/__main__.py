"""See `tests/chaos/__init__.py`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.chaos.checker import ZEROS
from tests.chaos.plan import KINDS, STORES, Plan
from tests.chaos.run import Run


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Break what can be broken, then count.")
    parser.add_argument("--store", default=",".join(STORES), help="Some of %(default)s (default: all, in turn).")
    parser.add_argument("--jobs", type=int, default=Plan.jobs)
    parser.add_argument("--faults", type=int, default=Plan.faults)
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--lease", type=float, default=Plan.lease, help="Seconds (default: %(default)s).")
    parser.add_argument("--pace", type=float, default=Plan.pace, help="Seconds from fault to fault (%(default)s).")
    parser.add_argument("--keep", action="store_true", help="Leave the run's directory, and say where it is.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Append the report, one line per run.")
    return parser.parse_args()


def main() -> int:
    given = options()
    wanted = given.store.split(",")
    if unknown := set(wanted) - set(STORES):
        raise SystemExit(f"--store: {', '.join(sorted(unknown))} is none of {', '.join(STORES)}")
    if len(wanted) > 1:  # Django is set up once in a process
        rest = [word for word in sys.argv[1:] if word != given.store and word != "--store"]
        return max(subprocess.call([sys.executable, "-m", "tests.chaos", *rest, "--store", name]) for name in wanted)
    plan = Plan(
        **{name: getattr(given, name) for name in ("jobs", "faults", "seed", "lease", "pace")},
        store=wanted[0],
    )
    with Run(plan, given.keep) as run:
        report = run()
    show(plan, report)
    if given.json:
        with given.json.open("a") as file:
            file.write(json.dumps(report) + "\n")
    return 1 if report["problems"] else 0


def show(plan: Plan, report: dict[str, Any]) -> None:
    print(f"\n{plan.store}: {plan.jobs} jobs, {plan.faults} faults, seed {plan.seed}, {report['seconds']} s")
    for kind in sorted(report["landed"]):
        print(f"  {report['landed'][kind]:6} {kind:14} {KINDS[kind]}")
    for what, value in report["figures"].items():
        print(f"  {what}: {value}")
    for what, words in ZEROS.items():
        print(f"  {report['zeros'][what]:6} {what:14} {words}")
        for sample in report["samples"].get(what, ()):
            print(f"         {sample}")
    for problem in report["problems"]:
        print(f"  RED: {problem}")
    if report["problems"]:
        again = " ".join(f"--{name} {getattr(plan, name)}" for name in ("store", "jobs", "faults", "seed"))
        print(f"  again: python -m tests.chaos {again}")


if __name__ == "__main__":
    sys.exit(main())
