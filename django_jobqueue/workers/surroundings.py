"""What a process lends to its jobs and wants back as it was: directory, environment, signals, settings of Python.

It is looked at after every job, so a look must cost next to nothing: two to three microseconds. What is dearer to ask,
and seldom touched, is asked when two milliseconds have passed, so many tiny jobs share one look. What can't be given
back is a reason to replace the process. Context variables (Django's time zone and language are among them) need no
look: each job runs in a context of its own.
"""

from __future__ import annotations

import builtins
import fcntl
import gc
import locale
import logging
import os
import random
import resource
import signal
import socket
import sys
import threading
import time
import warnings
from _locale import LC_ALL, setlocale
from _signal import getsignal  # type: ignore[import-not-found]  # that of `signal` makes an enum of it, slowly
from collections.abc import Callable
from functools import cache
from typing import Any

from django_jobqueue.workers.alarm import alarm

logger = logging.getLogger("django_jobqueue.worker")

OURS = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGVTALRM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)
OTHERS = (signal.SIGHUP, signal.SIGQUIT, signal.SIGPROF, signal.SIGPIPE)
_RARE_SECONDS = 0.002
_LIMITS = tuple(getattr(resource, name) for name in ("RLIMIT_AS", "RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_CPU"))

_forks = 0


def _forked() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_forked)

_moves = 0
_settings = 0


def _listen(event: str, arguments: object) -> None:
    global _moves, _settings
    if event == "os.chdir":
        _moves += 1
    elif event in ("os.putenv", "os.unsetenv"):
        _settings += 1


@cache
def _listen_to_changes() -> None:
    """Where we are costs a look that lets go of the GIL, so another thread goes on, and the next job waits for it:
    nine microseconds in a busy worker. To compare an environment of fifty variables takes one. Python tells of each
    move, and of each variable that is set; and can't be asked to stop telling.
    """
    sys.addaudithook(_listen)


def _interpreter() -> tuple[Any, ...]:
    """First what jobs and tests like to put something else in the place of."""
    return (
        time.time,
        time.sleep,
        time.monotonic,
        builtins.open,
        builtins.print,
        random.random,
        sys.stdin,
        sys.stdout,
        sys.stderr,
        sys.excepthook,
        sys.getrecursionlimit(),
        sys.getswitchinterval(),
        socket.getdefaulttimeout(),
        gc.isenabled(),
        logging.root.level,
        logging.root.manager.disable,
        time.tzname,
    )


_PATCHED = slice(0, 6)


def _handlers(signals: tuple[signal.Signals, ...]) -> list[Any]:
    return [getsignal(number) for number in signals]


class Surroundings:
    """The state of the process when the worker began. Only for when no job runs.

    `retire` is told why the process must be replaced.
    """

    def __init__(self, retire: Callable[[str], None]) -> None:
        self._retire = retire
        _listen_to_changes()
        self._forks, self._moves, self._settings = _forks, _moves, _settings
        self._directory = os.getcwd()
        self._environment = dict(os.environ._data)  # type: ignore[attr-defined]
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self._handlers, self._other_handlers = _handlers(OURS), _handlers(OTHERS)
        self._interpreter = _interpreter()
        self._path = list(sys.path)
        self._log_handlers = list(logging.root.handlers)
        self._locale = locale.setlocale(locale.LC_ALL)
        self._limits = [resource.getrlimit(kind) for kind in _LIMITS]
        self._nice = os.getpriority(os.PRIO_PROCESS, 0)
        self._file = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._looked_at = 0.0
        self._warnings = self._guard_warnings()

    def _guard_warnings(self) -> tuple[warnings.catch_warnings[None], list[Any]]:
        """Python's own way to bring the filters back, entered once and not for each job: that would cost ten looks."""
        guard = warnings.catch_warnings()
        guard.__enter__()
        return guard, list(warnings.filters)

    def end(self) -> None:
        self._warnings[0].__exit__(None, None, None)
        if self._has_files():
            os.close(self._file)

    def restore(self, task: str) -> None:
        """After a job of `task`: as it was before. Ends a process that the job has forked and that came back."""
        if _forks != self._forks:
            os._exit(os.EX_SOFTWARE)
        try:
            if self._is_changed():
                self._put_back(task)
        except Exception:  # what a job has left may be anything
            logger.exception("What a job of %s left behind could not be put right.", task)
            self._retire("a job has left it in a state that can't be put right")

    def _is_changed(self) -> bool:
        return (
            # It can't be read, only set: so it is, and what it was comes back.
            os.umask(self._umask) != self._umask
            or (_settings != self._settings and self._has_another_environment())
            or _interpreter() != self._interpreter
            or _handlers(OURS) != self._handlers
            or warnings.filters != self._warnings[1]
            or sys.path != self._path
            or logging.root.handlers != self._log_handlers
            or setlocale(LC_ALL, None) != self._locale
            or (_moves != self._moves and self._has_moved())
            or getattr(sys.stdout, "closed", False)
            or getattr(sys.stderr, "closed", False)
            or (time.monotonic() - self._looked_at > _RARE_SECONDS and self._is_rarely_changed())
        )

    def _has_another_environment(self) -> bool:
        self._settings = _settings
        return bool(os.environ._data != self._environment)  # type: ignore[attr-defined]

    def _has_moved(self) -> bool:
        self._moves = _moves
        return not self._is_at_home()

    def _is_at_home(self) -> bool:
        try:
            return os.getcwd() == self._directory
        except OSError:  # it was removed
            return False

    def _is_rarely_changed(self) -> bool:
        self._looked_at = time.monotonic()
        return (
            _handlers(OTHERS) != self._other_handlers
            or [resource.getrlimit(kind) for kind in _LIMITS] != self._limits
            or os.getpriority(os.PRIO_PROCESS, 0) != self._nice
            or not self._has_files()
            or not self._is_at_home()  # it may have been removed
            or self._has_another_environment()  # written past Python's own way to set it
        )

    def _has_files(self) -> bool:
        try:
            fcntl.fcntl(self._file, fcntl.F_GETFD)
        except OSError:
            return False
        return not any(getattr(stream, "closed", False) for stream in (sys.stdout, sys.stderr))

    # -- putting back ------------------------------------------------------------------------------------------------

    def _put_back(self, task: str) -> None:
        """Everything, whatever it was: this is not often."""
        what = [name for name, repair in self._repairs() if repair()]
        # Said when all is back: the log, too, may have been among it.
        logger.warning("A job of %s left the process changed (%s); it is put back.", task, ", ".join(what) or "umask")

    def _repairs(self) -> list[tuple[str, Callable[[], bool]]]:
        return [
            ("patched functions", self._repair_patches),
            ("environment", self._repair_environment),
            ("Python", self._repair_interpreter),
            ("signals", self._repair_signals),
            ("warnings", self._repair_warnings),
            ("sys.path", lambda: _refill(sys.path, self._path)),
            ("log", lambda: _refill(logging.root.handlers, self._log_handlers)),
            ("locale", self._repair_locale),
            ("directory", self._repair_directory),
            ("limits", self._repair_limits),
            ("files", self._repair_files),
        ]

    def _repair_patches(self) -> bool:
        before = self._interpreter[_PATCHED]
        if _interpreter()[_PATCHED] == before:
            return False
        time.time, time.sleep, time.monotonic, builtins.open, builtins.print, random.random = before
        self._retire("a job has replaced functions of Python, perhaps more than could be put back")
        return True

    def _repair_environment(self) -> bool:
        if not self._has_another_environment():
            return False
        for key in os.environ.keys() - {os.fsdecode(key) for key in self._environment}:
            del os.environ[key]
        os.environ.update({os.fsdecode(key): os.fsdecode(value) for key, value in self._environment.items()})
        return True

    def _repair_interpreter(self) -> bool:
        if _interpreter() == self._interpreter:
            return False
        sys.stdin, sys.stdout, sys.stderr, sys.excepthook, recursion, interval, timeout, collects, *log = (
            self._interpreter[_PATCHED.stop : -1]
        )
        sys.setrecursionlimit(recursion)
        sys.setswitchinterval(interval)
        socket.setdefaulttimeout(timeout)
        (gc.enable if collects else gc.disable)()
        logging.root.setLevel(log[0])
        logging.disable(log[1])
        if time.tzname is not self._interpreter[-1]:
            time.tzset()  # the environment is back already
        self._interpreter = _interpreter()
        return True

    def _repair_signals(self) -> bool:
        before = zip((*OURS, *OTHERS), (*self._handlers, *self._other_handlers), strict=True)
        changed = [(number, handler) for number, handler in before if getsignal(number) != handler]
        for timer in (signal.ITIMER_VIRTUAL, signal.ITIMER_PROF) if changed else ():
            signal.setitimer(timer, 0)
        for number, handler in changed:
            if handler is not None and threading.current_thread() is threading.main_thread():
                signal.signal(number, handler)
        if changed:
            alarm.rewind()
        return bool(changed)

    def _repair_warnings(self) -> bool:
        guard, filters = self._warnings
        if warnings.filters == filters:
            return False
        guard.__exit__(None, None, None)
        self._warnings = self._guard_warnings()
        return True

    def _repair_locale(self) -> bool:
        if locale.setlocale(locale.LC_ALL) == self._locale:
            return False
        locale.setlocale(locale.LC_ALL, self._locale)
        return True

    def _repair_directory(self) -> bool:
        if self._is_at_home():
            return False
        try:
            os.chdir(self._directory)
            self._moves = _moves
        except OSError as error:
            self._retire(f"it can't go back to its directory ({error})")
        return True

    def _repair_limits(self) -> bool:
        changed = False
        for kind, before in zip(_LIMITS, self._limits, strict=True):
            if resource.getrlimit(kind) != before:
                changed = True
                try:
                    resource.setrlimit(kind, before)
                except (OSError, ValueError):
                    self._retire("a job has lowered its limits for good")
        if os.getpriority(os.PRIO_PROCESS, 0) != self._nice:
            changed = True
            try:
                os.setpriority(os.PRIO_PROCESS, 0, self._nice)
            except OSError:
                self._retire("a job has lowered its priority for good")
        return changed

    def _repair_files(self) -> bool:
        if self._has_files():
            return False
        self._retire("a job has closed files that were not its own")
        return True


def _refill(now: list[Any], before: list[Any]) -> bool:
    if now == before:
        return False
    now[:] = before
    return True
