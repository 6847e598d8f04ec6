"""What jobs do to the process, the thread and the connection that run them. `is_as_before` must find nothing of it.

`MILD` can be put right; `ROUGH` ends or spoils the process, which is replaced; `SLOW` must be stopped at its timeout.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import decimal
import gc
import hashlib
import locale
import logging
import os
import random
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from django.db import connections, transaction
from django.utils import timezone, translation

from django_jobqueue import NoRetry, get_queue, task
from tests.crash.tasks import note

MILD: dict[str, Callable[[], Any]] = {}
ROUGH: dict[str, Callable[[], Any]] = {}
SLOW: dict[str, Callable[[], Any]] = {}
AT_FIRST = {
    "locale": locale.setlocale(locale.LC_ALL),
    "recursion": sys.getrecursionlimit(),
    "path": list(sys.path),
    "limits": [resource.getrlimit(kind) for kind in (resource.RLIMIT_AS, resource.RLIMIT_NOFILE)],
    "functions": (time.time, time.sleep, time.monotonic, open, print),
    "zone": time.tzname,
    "directory": os.getcwd(),
    "log": (logging.root.level, list(logging.root.handlers)),
    "nice": os.getpriority(os.PRIO_PROCESS, 0),
}
mine: ContextVar[str] = ContextVar("mine", default="")


@task(retry=NoRetry())
def misbehave(kind: str) -> None:
    note("start", kind)
    (MILD | ROUGH | SLOW)[kind]()


@task(retry=NoRetry())
async def amisbehave(kind: str) -> None:
    note("start", kind)
    MILD[kind]()


@task(retry=NoRetry())
def is_as_before(after: str) -> None:
    for name, found in changed().items():
        assert not found, f"after {after}: {name} is {found!r}"
    note("clean", after)


def changed() -> dict[str, Any]:
    """What is not as it was: nothing, but for what a broken worker lets through."""
    one = connections[
        os.environ["JOBQUEUE_TEST_ALIAS"] if os.environ["JOBQUEUE_TEST_ALIAS"] in connections else "default"
    ]
    umask = os.umask(0o022)
    os.umask(umask)
    functions = (time.time, time.sleep, time.monotonic, open, print)
    return {
        "directory": os.getcwd() != AT_FIRST["directory"] and os.getcwd(),
        "environment": "HOSTILE" in os.environ or "PATH" not in os.environ or os.environ.get("TZ") == "Asia/Tokyo",
        "umask": umask == 0o777 and umask,
        "SIGTERM": not callable(signal.getsignal(signal.SIGTERM)) or signal.getsignal(signal.SIGTERM) is _ignore,
        "SIGINT": signal.getsignal(signal.SIGINT) in (_ignore, signal.default_int_handler, signal.SIG_IGN),
        "SIGALRM": signal.getsignal(signal.SIGALRM) in (_ignore, signal.SIG_DFL, signal.SIG_IGN),
        "SIGCHLD": signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN,
        "timers": signal.getitimer(signal.ITIMER_REAL)[0] > 0,
        "locale": locale.setlocale(locale.LC_ALL) != AT_FIRST["locale"] and locale.setlocale(locale.LC_ALL),
        "time zone of the system": time.tzname != AT_FIRST["zone"] and time.tzname,
        "time zone": timezone.get_current_timezone_name() != "UTC" and timezone.get_current_timezone_name(),
        "language": translation.get_language() != "en-us" and translation.get_language(),
        "warnings": [one for one in warnings.filters if one[0] == "always" or "hostile" in str(one)],
        "trace": sys.gettrace(),
        "profile": sys.getprofile(),
        "recursion": sys.getrecursionlimit() != AT_FIRST["recursion"] and sys.getrecursionlimit(),
        "path": sys.path != AT_FIRST["path"] and sys.path,
        "functions": functions != AT_FIRST["functions"],
        "garbage": not gc.isenabled(),
        "sockets": socket.getdefaulttimeout(),
        "decimals": decimal.getcontext().prec != 28 and decimal.getcontext().prec,
        "streams": sys.stdout is not sys.__stdout__ or sys.stdout.closed or sys.stderr is not sys.__stderr__,
        "log": (logging.root.level, list(logging.root.handlers)) != AT_FIRST["log"] or logging.root.manager.disable,
        "loop": asyncio.events._get_running_loop(),
        "context": mine.get(),
        "limits": [resource.getrlimit(kind) for kind in (resource.RLIMIT_AS, resource.RLIMIT_NOFILE)]
        != AT_FIRST["limits"],
        "priority": os.getpriority(os.PRIO_PROCESS, 0) != AT_FIRST["nice"],
        "switches": sys.getswitchinterval() > 0.5,
        "transaction": one.in_atomic_block or not one.get_autocommit(),
        **_session(one),
    }


def _session(one: Any) -> dict[str, Any]:
    with one.cursor() as cursor:
        if one.vendor == "sqlite":
            cursor.execute("PRAGMA foreign_keys")
            return {"foreign keys": cursor.fetchone() != (1,)}
        if one.vendor == "mysql":
            cursor.execute(
                "SELECT @@max_statement_time, database(), @@time_zone, @hostile, is_used_lock('hostile'), "
                "@@tx_isolation"
            )
            limit, database, zone, variable, lock, isolation = cursor.fetchone()
            return {
                "max_statement_time": float(limit),
                "database": database != one.settings_dict["NAME"] and database,
                "time_zone": zone == "+09:00" and zone,
                "variable": variable,
                "lock": lock,
                "isolation": isolation != "READ-COMMITTED" and isolation,
            }
        cursor.execute(
            "SELECT current_setting('statement_timeout'), current_setting('search_path'), current_setting('TimeZone'),"
            " current_user = session_user, (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()"
            " AND locktype = 'advisory'), to_regclass('pg_temp.hostile')"
        )
        limit, path, zone, is_self, locks, table = cursor.fetchone()
    return {
        "statement_timeout": limit != "0" and limit,
        "search_path": "hostile" in path and path,
        "TimeZone": zone != "UTC" and zone,
        "role": not is_self,
        "locks": locks,
        "temporary table": table,
    }


def _ignore(*_: object) -> None: ...


def _nowhere() -> Any:
    return open(os.devnull, "w")


def _in(kinds: dict[str, Callable[[], Any]]) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def add(function: Callable[[], Any]) -> Callable[[], Any]:
        kinds[function.__name__.replace("_", "-").strip("-")] = function
        return function

    return add


def _connection() -> Any:
    alias = os.environ["JOBQUEUE_TEST_ALIAS"]
    return connections[alias if alias in connections else "default"]


def _sql(
    on_postgres: str, on_mariadb: str = "SET @hostile = 1", on_sqlite: str = "PRAGMA foreign_keys = OFF"
) -> Callable[[], None]:
    def run() -> None:
        one = _connection()
        with one.cursor() as cursor:
            cursor.execute({"sqlite": on_sqlite, "mysql": on_mariadb}.get(one.vendor, on_postgres))

    return run


def _lose_the_queue() -> None:
    """A job may get hold of the connections of its own queue, and close them."""
    queue: Any = get_queue(os.environ["JOBQUEUE_TEST_ALIAS"])
    if queue.store:
        queue.connection.client.connection_pool.disconnect()
    else:
        connections[queue.database].close()


MILD |= {
    "chdir": lambda: os.chdir("/"),
    "umask": lambda: os.umask(0o777),
    "sets-environment": lambda: os.environ.update(HOSTILE="1"),
    "clears-environment": os.environ.clear,
    "SIGTERM-ignored": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "SIGTERM-default": lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL),
    "SIGINT-own": lambda: signal.signal(signal.SIGINT, _ignore),
    "SIGALRM-own": lambda: signal.signal(signal.SIGALRM, _ignore),
    "SIGALRM-default-and-alarm": lambda: (signal.signal(signal.SIGALRM, signal.SIG_IGN), signal.alarm(1)),
    "SIGCHLD-ignored": lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    "locale": lambda: locale.setlocale(locale.LC_ALL, "C" if AT_FIRST["locale"] != "C" else "C.UTF-8"),
    "timezone-activate": lambda: timezone.activate("Asia/Tokyo"),
    "translation-activate": lambda: translation.activate("de"),
    "translation-off": translation.deactivate_all,
    "warnings-always": lambda: warnings.simplefilter("always"),
    "warnings-reset": lambda: (warnings.resetwarnings(), warnings.filterwarnings("ignore", "hostile")),
    "settrace": lambda: sys.settrace(lambda *_: None),
    "setprofile": lambda: sys.setprofile(lambda *_: None),
    "recursion-limit": lambda: sys.setrecursionlimit(100_000),
    "switch-interval": lambda: sys.setswitchinterval(1.0),
    "sys-path": lambda: sys.path.insert(0, "/hostile"),
    "gc-off": gc.disable,
    "socket-timeout": lambda: socket.setdefaulttimeout(0.001),
    "decimal-context": lambda: setattr(decimal.getcontext(), "prec", 3),
    "context-variable": lambda: mine.set("hostile"),
    "stdout-replaced": lambda: setattr(sys, "stdout", _nowhere()),
    "redirect-left-open": lambda: contextlib.redirect_stderr(_nowhere()).__enter__(),
    "logging-disabled": lambda: logging.disable(logging.CRITICAL),
    "logging-configured": lambda: logging.basicConfig(level=logging.DEBUG, stream=_nowhere(), force=True),
    "priority-of-the-process": lambda: os.nice(0) or os.setpriority(os.PRIO_PROCESS, 0, AT_FIRST["nice"]),
    "SET": _sql("SET statement_timeout = 12345", "SET max_statement_time = 12"),
    "search-path": _sql("SET search_path TO hostile, public", "USE information_schema"),
    "set-config": _sql(
        "SELECT set_config('statement_timeout', '4321', false)",
        "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    ),
    "SET-ROLE": _sql("SET ROLE pg_monitor"),
    "SET-TIME-ZONE": _sql("set time zone 'Asia/Tokyo'", "set time_zone = '+09:00'"),
    "advisory-lock": _sql("SELECT pg_advisory_lock(4711)", "SELECT get_lock('hostile', 0)"),
    "temporary-table": _sql(*["CREATE TEMPORARY TABLE hostile (id int)"] * 3),
    "LISTEN": _sql("LISTEN hostile"),
    "transaction-left-open": lambda: transaction.atomic(using=_connection().alias).__enter__(),
    "autocommit-off": lambda: transaction.set_autocommit(False, using=_connection().alias),
    "connections-closed": lambda: connections.close_all(),
    "queue-lost": _lose_the_queue,
    "exits": lambda: sys.exit(3),
}


@_in(MILD)
def tzset() -> None:
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()


@_in(MILD)
def directory_removed() -> None:
    place = tempfile.mkdtemp()
    os.chdir(place)
    os.rmdir(place)


@_in(MILD)
def running_loop_left() -> None:
    asyncio.events._set_running_loop(asyncio.new_event_loop())


@_in(MILD)
def daemon_that_outlives() -> None:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


@_in(MILD)
def endless_recursion() -> None:
    endless_recursion()


@_in(MILD)
def floods_stdout() -> None:
    with _nowhere() as nowhere, contextlib.redirect_stdout(nowhere):
        for _ in range(64):
            print("x" * 1_000_000)


@_in(MILD)
def leaves_children() -> None:
    if os.fork() == 0:
        os._exit(0)


@_in(ROUGH)
def patches_time() -> None:
    time.time = lambda: 0.0


@_in(ROUGH)
def exits_at_once() -> None:
    os._exit(3)


@_in(ROUGH)
def kills_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@_in(ROUGH)
def segfaults() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)


@_in(ROUGH)
def aborts() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.abort()


@_in(ROUGH)
def fork_comes_back() -> None:
    """Two processes return from it."""
    if os.fork() == 0:
        note("forked", "fork-comes-back")


@_in(ROUGH)
def closes_all_files() -> None:
    os.closerange(3, 4096)


@_in(ROUGH)
def closes_stdout() -> None:
    sys.stdout.close()


@_in(ROUGH)
def lowers_its_limits() -> None:
    soft = 1 << 40
    resource.setrlimit(resource.RLIMIT_AS, (soft, soft))


@_in(ROUGH)
def eats_memory() -> None:
    limit = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 31, limit[1]))
    bytearray(1 << 32)


@_in(ROUGH)
def thread_that_never_ends() -> None:
    threading.Thread(target=threading.Event().wait).start()


@_in(SLOW)
def spins() -> None:
    while True:
        pass


@_in(SLOW)
def swallows_everything() -> None:
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass


@_in(SLOW)
def locks_itself_out() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


@_in(SLOW)
def holds_the_interpreter() -> None:
    ctypes.PyDLL(None).sleep(60)


@_in(SLOW)
def computes_in_c() -> None:
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 200_000_000)


@_in(SLOW)
def hears_no_alarm() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    time.sleep(60)


@_in(SLOW)
def random_and_asleep() -> None:
    random.seed(0)
    socket.socketpair()[0].recv(1)
