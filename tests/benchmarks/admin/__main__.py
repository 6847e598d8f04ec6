"""Open every page of the admin over tables with millions of rows, and say how long each took.

    python -m tests.benchmarks.admin                        1,000,000 rows of history, and a tenth of it in each room
    python -m tests.benchmarks.admin --rows 10000000        ten times that: 10 GB on the disk, minutes to fill

Each page is opened through Django's test client, which renders it whole: once for the server's memory, then `--rounds`
times. Printed are the median, the queries, and the statement that took longest. A page over the limit makes it fail.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from statistics import median
from typing import Any, NamedTuple

from tests import servers

LIMIT_MS = 300.0


class Opened(NamedTuple):
    name: str
    first_ms: float
    ms: float
    queries: int
    slowest_ms: float
    slowest: str


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.admin", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="Of history (default: %(default)s).")
    parser.add_argument("--live", type=int, help="Dead letters, waiting and delayed jobs, each (default: a tenth).")
    parser.add_argument("--rounds", type=int, default=3, help="How often each page is opened (default: %(default)s).")
    parser.add_argument("--only", default="", help="Only pages whose names begin so.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, servers.running({"postgres"}) as found:
        os.environ.update(found.environment())
        os.environ |= {"DJANGO_SETTINGS_MODULE": "tests.benchmarks.admin.settings", "JOBQUEUE_TEST_DIR": directory}
        return measure(given)


def measure(given: argparse.Namespace) -> int:
    import django

    django.setup()
    from django.contrib.auth.models import User
    from django.db import connection
    from django.test import Client

    from tests.benchmarks.admin.addresses import addresses
    from tests.benchmarks.admin.filling import fill

    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    with connection.cursor() as cursor:
        fill(cursor, given.rows, given.rows // 10 if given.live is None else given.live, say)
        cursor.execute("SELECT pg_size_pretty(pg_database_size(current_database()))")
        say(f"{cursor.fetchone()[0]} on the disk")
    client = Client()
    client.force_login(User.objects.create_superuser("boss", password="secret"))
    pages = [
        show(open_page(client, name, address, given.rounds))
        for name, address in addresses()
        if name.startswith(given.only)
    ]
    slow = [page for page in pages if page.ms > LIMIT_MS]
    worst = max(pages, key=lambda page: page.ms)
    print(f"{len(pages)} pages, {len(slow)} over {LIMIT_MS:.0f} ms; the slowest: {worst.name} {worst.ms:.0f} ms")
    return 1 if slow else 0


def open_page(client: Any, name: str, address: str, rounds: int) -> Opened:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    times = []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        with CaptureQueriesContext(connection) as captured:
            response = client.get(address)
        times.append((time.perf_counter() - begun) * 1_000)
        assert response.status_code in (200, 302), (address, response.status_code)
        assert "e=1" not in response.headers.get("Location", "") or "p=" in address, f"{address} was not understood"
    slowest = max(captured, key=lambda query: float(query["time"]))
    sql = " ".join(slowest["sql"].split())
    return Opened(name, times[0], median(times[1:]), len(captured), float(slowest["time"]) * 1_000, sql)


def show(page: Opened) -> Opened:
    flag = "  OVER" if page.ms > LIMIT_MS else ""
    print(f"{page.ms:7.0f} ms (first {page.first_ms:5.0f}) {page.queries:3} queries  {page.name}{flag}", flush=True)
    if page.ms > LIMIT_MS / 3:
        print(f"{'':14}{page.slowest_ms:.0f} ms: {page.slowest[:100]} … {page.slowest[-160:]}", flush=True)
    return page


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
