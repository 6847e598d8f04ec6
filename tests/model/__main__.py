"""Checks the model of the lease protocol with spin, every state of it: `python -m tests.model`.

Fails when the model breaks one of its claims, and when one of its mutations does not.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

MODEL = Path(__file__).with_name("lease.pml")
MUTATIONS = re.findall(r"^ \*   ([A-Z_]{5,}) ", MODEL.read_text(), re.MULTILINE)
DEPTH = "10000"
MEGABYTES = 4_000


class Check(NamedTuple):
    """`trouble`: how many things may go wrong. `ends`: liveness is checked too, with weak fairness."""

    name: str
    trouble: int
    mutation: str = ""
    ends: bool = False

    @property
    def defines(self) -> list[str]:
        words = [
            f"TROUBLE={self.trouble}",
            *([self.mutation] if self.mutation else []),
            *(["LTL"] if self.ends else []),
        ]
        return [f"-D{word}" for word in words]


CHECKS = [
    Check("nothing is lost, nothing is stale, all ends", 2),
    Check("the same end as a claim of liveness, with fairness", 1, ends=True),
    *(Check(f"refuted: {name}", 2, name) for name in MUTATIONS),
]
LONG = [
    Check("nothing is lost, nothing is stale, all ends", 3),
    Check("the same end as a claim of liveness, with fairness", 2, ends=True),
]


def search(check: Check) -> tuple[int, int, str]:
    """How many states there were, how many errors, and what spin said."""
    with tempfile.TemporaryDirectory() as directory:
        run(directory, "spin", "-a", *check.defines, str(MODEL))
        how = ["-DNFAIR=3"] if check.ends else ["-DSAFETY"]
        run(directory, "cc", "-w", "-O1", "-DCOLLAPSE", f"-DMEMLIM={MEGABYTES}", *how, "-o", "pan", "pan.c")
        said = run(directory, "./pan", "-n", f"-m{DEPTH}", *(["-a", "-f"] if check.ends else []))
    errors = re.search(r"errors: (\d+)", said)
    states = re.search(r"(\d+) states, stored", said)
    is_whole = "max search depth too small" not in said and "out of memory" not in said
    if errors is None or states is None or not (is_whole or int(errors.group(1))):
        raise SystemExit(f"{check.name}: the search was not finished.\n{said}")
    return int(states.group(1)), int(errors.group(1)), said


def run(directory: str, *command: str) -> str:
    done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode and command[0] != "./pan":
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def main() -> int:
    if missing := [name for name in ("spin", "cc") if shutil.which(name) is None]:
        raise SystemExit(f"{' and '.join(missing)} can't be found: apt-get install spin gcc")
    wrong = 0
    for check in [*CHECKS, *(LONG if "--long" in sys.argv else [])]:
        begun = time.monotonic()
        states, errors, said = search(check)
        is_right = bool(errors) == bool(check.mutation)
        wrong += not is_right
        verdict = "ok" if is_right else "WRONG"
        print(f"{verdict:6}{check.name:56}{states:11,} states {time.monotonic() - begun:6.1f} s", flush=True)
        if not is_right:
            print(said)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
