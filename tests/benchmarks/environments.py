"""A virtualenv for each peer, made from the package index when it is first measured, and kept below build/.

Nothing of a peer gets into ours, and no two peers have to agree on a version. `peers.txt` has the versions.
JOBQUEUE_BENCH_VENVS names another directory, for more than one checkout.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(os.environ.get("JOBQUEUE_BENCH_VENVS") or ROOT / "build" / "benchmarks")
PINS = Path(__file__).with_name("peers.txt")


class NotInstallable(Exception):
    """The package index has no such package for this Python; the message is pip's."""


def python_of(name: str, packages: tuple[str, ...]) -> Path:
    """The interpreter that has these packages (`"celery"`, `"psycopg[binary]"`); made when it is not there yet.

    Raises NotInstallable.
    """
    if not packages:
        return Path(sys.executable)
    place = HOME / f"{name}-{digest(packages)}"
    python = place / "bin" / "python"
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        run(name, [sys.executable, "-m", "venv", str(place)])
        run(name, [str(python), "-m", "pip", "install", "--quiet", "-c", str(PINS), *packages])
        (place / "complete").touch()
    return python


def run(name: str, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise NotInstallable(f"{name} can't be installed: {done.stderr.strip()[-300:]}")


def digest(packages: tuple[str, ...]) -> str:
    """Changes with this Python, with what is asked for and with its pinned versions."""
    return sha256("\n".join([sys.version, *packages, *pinned(packages)]).encode()).hexdigest()[:12]


def pinned(packages: tuple[str, ...]) -> list[str]:
    """`["celery==5.7.0"]` for `("celery",)`: the lines of these packages."""
    names = {re.split(r"[\[=<>~!]", package)[0] for package in packages}
    return [line for line in PINS.read_text().splitlines() if line.partition("==")[0] in names]
