"""What Linux tells of other processes. They go on while one looks: what has gone in between is simply not there."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

_STATE = re.compile(r"^State:\t(\w)", re.MULTILINE)


def children(pid: int) -> list[int]:
    """Pids in the order of their start. None of a process that is gone."""
    return [int(child) for child in read(pid, f"task/{pid}/children").split()]


def state(pid: int) -> str:
    """`R`, `S`, `D`, `T` (stopped), `Z` (dead, nobody has asked for its exit code) … Empty: there is none."""
    found = _STATE.search(read(pid, "status"))
    return found[1] if found else ""


def is_alive(pid: int) -> bool:
    return state(pid) not in ("", "Z", "X")


def sockets(pid: int) -> set[str]:
    return {target for target in open_files(pid) if target.startswith("socket:")}


def open_files(pid: int) -> list[str]:
    """What its descriptors lead to, without the three that each process has."""
    found = []
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # closed since it was listed
                if int(link.name) > 2:
                    found.append(os.readlink(link))
    return found


def read(pid: int, name: str) -> str:
    """One of its files, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""
