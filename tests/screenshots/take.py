"""Start the sample shop's admin, and photograph it with headless Chromium: light, dark, and on a telephone."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

OUT = Path(__file__).resolve().parents[2] / "docs" / "screenshots"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
LIGHT, DARK = "1", "0"  # Blink's numbers for prefers-color-scheme
NARROW = 430

WRONG = {
    "_sent": "1",
    **{"name": "Month's end", "task": "shop.catalogue.stock_report", "args": "[1, 2]", "kwargs": '{"full": tru}'},
    **{"kind": "cron", "expression": "0 18 31 2 *", "timezone": "Berlin", "backend": "default", "enabled": "on"},
    **{"misfire": "once", "misfire_limit": "10", "grace": "60", "overlap": "allow", "jitter": "0", "priority": "200"},
}

# (name, model, page, height): each is taken light and dark
PAGES = [
    ("jobs", "job", "changelist", 1010),
    ("dead-letters", "deadletterjob", "changelist", 1150),
    ("dead-letter", "deadletterjob", "change", 1330),
    ("retry-edited", "deadletterjob", "edit_retry", 1000),
    ("workers", "workerprocess", "changelist", 560),
    ("schedules", "recurringjob", "changelist", 1010),
    ("schedule", "recurringjob", "change", 1500),
    ("schedule-form", "recurringjob", "edit", 1500),
    ("schedule-run", "recurringjob", "run", 760),
    ("schedule-wrong", "recurringjob", "add", 1500),
]
NARROW_PAGES = [
    *(("dead-letter", 1900), ("dead-letters", 1700), ("jobs", 1500)),
    *(("schedules", 1700), ("schedule-form", 2300)),
]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.screenshots", description=__doc__)
    parser.add_argument("--only", default="", help="Only pictures whose name holds this.")
    parser.add_argument("--out", type=Path, default=OUT, help="Where the pictures go (docs/screenshots).")
    options = parser.parse_args(argv)
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print(f"No browser was found ({', '.join(BROWSERS)}).", file=sys.stderr)
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        keys = set_up(directory)
        with server() as root:
            for name, address, width, height, scheme in pictures(root, keys):
                if options.only in name:
                    file = options.out / f"{name}.png"
                    take(browser, address, file, width, height, scheme)
                    print(file.name, f"{file.stat().st_size // 1024} KiB")
    return 0


def set_up(directory: str) -> dict[str, Any]:
    """A migrated project with a day's work in it."""
    os.environ["JOBQUEUE_SCREENSHOTS_DIR"] = directory
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.screenshots.settings"
    import django
    from django.core.management import call_command

    django.setup()
    from tests.screenshots.sample import fill

    call_command("migrate", verbosity=0)
    return fill()


@contextmanager
def server() -> Iterator[str]:
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
    from django.core.wsgi import get_wsgi_application

    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    httpd = ThreadedWSGIServer(("127.0.0.1", 0), Quiet)
    httpd.set_app(StaticFilesHandler(get_wsgi_application()))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_address[1]}"
    httpd.shutdown()


def pictures(root: str, keys: dict[str, Any]) -> Iterator[tuple[str, str, int, int, str]]:
    from django.urls import reverse

    addresses: dict[str, str] = {}
    for name, model, page, height in PAGES:
        args = [] if page in ("changelist", "add") else [keys["schedule" if model == "recurringjob" else "letter"]]
        addresses[name] = root + reverse(f"admin:django_jobqueue_{model}_{page}", args=args)
        if page == "add":
            addresses[name] += f"?{urlencode(WRONG)}"
        yield f"{name}-light", addresses[name], 1360, height, LIGHT
        yield f"{name}-dark", addresses[name], 1360, height, DARK
    for name, height in NARROW_PAGES:
        yield f"{name}-narrow", addresses[name], NARROW, height, LIGHT


def take(browser: str, address: str, file: Path, width: int, height: int, scheme: str) -> None:
    with tempfile.TemporaryDirectory() as profile:
        flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--virtual-time-budget=3000",
            f"--user-data-dir={profile}",
            f"--blink-settings=preferredColorScheme={scheme}",
            f"--window-size={width},{height}",
            f"--screenshot={file}",
        ]
        done = subprocess.run([browser, *flags, address], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode or not file.exists():
        raise RuntimeError(f"{address}: {done.stderr[-2000:]}")
