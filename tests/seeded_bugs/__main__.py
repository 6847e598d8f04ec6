"""See `tests/seeded_bugs/__init__.py`."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests import servers
from tests.seeded_bugs.bugs import BUGS, Bug, Edit

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("django_jobqueue", "docs", "tests", "example_project", "pyproject.toml", "README.md", "CHANGELOG.md")
FAILED, PASSED = 1, 0
SECONDS = 240


def copy_to(directory: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, directory / name, ignore=shutil.ignore_patterns("__pycache__", "*.sqlite3*"))
        else:
            shutil.copy2(source, directory / name)


def changed(text: str, edit: Edit) -> str:
    """Raises `ValueError` when the text has moved on."""
    if text.count(edit.old) != 1:
        raise ValueError(f"{edit.file}: {text.count(edit.old)} times {edit.old!r}")
    return text.replace(edit.old, edit.new)


def plant(one: Bug, directory: Path) -> None:
    for edit in one.edits:
        file = directory / edit.file
        file.write_text(changed(file.read_text(), edit))


def run(one: Bug, directory: Path) -> tuple[int, str]:
    """The exit code of its tests, and what they said."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *one.tests]
    wanted = {"JOBQUEUE_TEST_SERVICES": one.services, "JOBQUEUE_TEST_REQUIRE": one.services}
    done = subprocess.run(
        command,
        cwd=directory,
        env=os.environ | wanted,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    return done.returncode, done.stdout


def verdict(one: Bug) -> str:
    """Empty when the tests are green without the bug, and red with it."""
    with tempfile.TemporaryDirectory(prefix="jobqueue-bug-") as name:
        directory = Path(name)
        copy_to(directory)
        code, said = run(one, directory)
        if code != PASSED:
            return f"the tests are not green without it (exit code {code}):\n{said[-3_000:]}"
        plant(one, directory)
        code, said = run(one, directory)
        return "" if code == FAILED else f"NOT NOTICED (exit code {code}):\n{said[-3_000:]}"


def chosen() -> list[Bug]:
    parser = argparse.ArgumentParser(prog="python -m tests.seeded_bugs", description="Plant bugs: tests must notice.")
    parser.add_argument("words", nargs="*", help="Only bugs whose names contain one of these. Default: all.")
    words = parser.parse_args().words
    found = [one for one in BUGS if not words or any(word in one.name for word in words)]
    if not found:
        parser.error(f"no name has any of these: {', '.join(one.name for one in BUGS)}")
    return found


def main() -> int:
    wanted, missed = chosen(), 0
    needed = {name for one in wanted for name in one.services.split(",")} - {"none"}
    with servers.running(needed) as found:
        os.environ.update({k: v for k, v in found.environment().items() if k != "JOBQUEUE_TEST_DIR"})
        for one in wanted:
            begun = time.monotonic()
            problem = verdict(one)
            missed += bool(problem)
            print(f"{'MISSED' if problem else 'caught'}  {one.name:40} {time.monotonic() - begun:5.1f} s", flush=True)
            if problem:
                print(problem)
    print(f"{len(wanted) - missed} of {len(wanted)} bugs are caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
