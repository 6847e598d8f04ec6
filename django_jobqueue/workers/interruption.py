"""How an exception gets into a job that runs: only into its own code, never into the worker's bookkeeping."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable


class Interrupted(BaseException):
    """Raised into a running job when its worker has no more time for it. The job is released, not failed."""


class JobWindow:
    """Open only while a job's own code runs, in the main thread. `interrupt` is for signal handlers, which run there.

    An exception may be raised at any moment between the two, on the way in and on the way out too. So whoever opens it
    shuts it again in a `finally`, and once more when something was caught.
    """

    def __init__(self) -> None:
        self.is_open = False
        self.was_interrupted = False
        """Whether anything was raised into the job. Then what it was at may be half done, in a driver, too."""

    def open(self) -> None:
        self.was_interrupted = False
        self.is_open = True

    def shut(self) -> None:
        self.is_open = False

    def interrupt(self, cause: type[BaseException]) -> bool:
        """Raise `cause` in the job; False when none runs."""
        if not self.is_open:
            return False
        self.was_interrupted = True
        raise cause

    def runs_elsewhere(self, cancel: Callable[[], object] | None) -> None:
        """From here on the job is a coroutine in another thread, ended by `cancel`; None: it is over."""

    @property
    def cause(self) -> type[BaseException] | None:
        """Why the coroutine was cancelled, if it was by us."""
        return None


class ThreadWindow(JobWindow):
    """The window of one job in a thread. `interrupt` is for other threads.

    An exception for another thread is raised by the interpreter when that thread runs Python code again: not while it
    waits in C, for a lock or a socket. So the window is shut under a lock, and what was sent but has not arrived is
    taken back. A coroutine runs elsewhere, and is cancelled instead.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._cancel: Callable[[], object] | None = None
        self._cause: type[BaseException] | None = None

    def shut(self) -> None:
        while True:
            try:
                with self._lock:
                    self.is_open = False
                if self.was_interrupted:
                    _raise_in(self._thread, None)
                return
            except BaseException:  # noqa: S112 (what arrives now is too late: the job has ended)
                continue

    def interrupt(self, cause: type[BaseException]) -> bool:
        with self._lock:
            if not self.is_open:
                return False
            self.was_interrupted = True
            if self._cancel is None:
                _raise_in(self._thread, cause)
            else:
                self._cause = cause
                self._cancel()
            return True

    def runs_elsewhere(self, cancel: Callable[[], object] | None) -> None:
        with self._lock:
            self._cancel = cancel

    def open(self) -> None:
        self._cause = None
        super().open()

    @property
    def cause(self) -> type[BaseException] | None:
        return self._cause


def _raise_in(thread: int, cause: type[BaseException] | None) -> None:
    """An exception in a thread that waits for nothing but its turn; None takes back what has not arrived."""
    raised = None if cause is None else ctypes.py_object(cause)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)
