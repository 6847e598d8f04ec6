"""How much processor time processes have had, as Linux counts it: in hundredths of a second."""

from __future__ import annotations

import os
from pathlib import Path

from tests.benchmarks.memory import family


def of_process(pid: int, ended: bool = False) -> float:
    """Seconds of a process; with `ended`, those of its children, too, that have ended and were waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if ended else 13])) / os.sysconf("SC_CLK_TCK")


def of_family(pid: int) -> float:
    """Seconds of a server and all its processes: a PostgreSQL backend that has gone is in the postmaster's account."""
    found = 0.0
    for one in list(family(pid)):
        try:
            found += of_process(one, ended=True)
        except (FileNotFoundError, ProcessLookupError):  # it ended since, so the next look has it in its parent's
            continue
    return found


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def on_cores(pid: int) -> float:
    """The same for those that are alive, to the nanosecond: for what takes less than a hundredth of a second."""
    found = 0
    for one in members(pid):
        try:
            found += sum(int((task / "schedstat").read_text().split()[0]) for task in one.iterdir())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found / 1e9


def members(pid: int) -> list[Path]:
    """The tasks of a server and its processes."""
    return [Path(f"/proc/{one}/task") for one in family(pid)]
