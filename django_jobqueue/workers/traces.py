"""What a thread lends to its jobs and wants back as it was; what the process lends is in `surroundings.py`."""

from __future__ import annotations

import decimal
import sys
from asyncio.events import _get_running_loop, _set_running_loop


class Traces:
    """What a thread lends to its jobs: tracing, profiling, the context of decimals, and no event loop.

    The context of decimals is a context variable, but one object, which a job may change.
    """

    def __init__(self) -> None:
        self._decimals = decimal.getcontext().copy()
        self._trace = sys.gettrace()
        self._profile = sys.getprofile()

    def restore_hooks(self) -> None:
        """Tracing and profiling: all of it that is the thread's, and not the context's."""
        if sys.gettrace() is not self._trace:
            sys.settrace(self._trace)
        if sys.getprofile() is not self._profile:
            sys.setprofile(self._profile)

    def restore(self) -> None:
        self.restore_hooks()
        now, before = decimal.getcontext(), self._decimals
        if now.prec != before.prec or now.rounding != before.rounding or now.Emax != before.Emax:
            decimal.setcontext(before.copy())
        if _get_running_loop() is not None:
            _set_running_loop(None)
