"""A wake-up call between threads, and from a signal handler."""

from __future__ import annotations

from queue import Empty, SimpleQueue


class Bell:
    """Rings once for one who waits, or the next who will.

    Not `threading.Event`: a signal handler runs in the main thread, perhaps while that thread holds the event's own
    lock, and `set()` would then wait for itself for ever. `SimpleQueue.put` may be called at any moment.
    """

    def __init__(self) -> None:
        self._rung: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        self._rung.put(None)

    def wait(self, seconds: float) -> bool:
        """True when it rang within so many seconds, or had rung before."""
        try:
            self._rung.get(timeout=max(0.0, seconds))
        except Empty:
            return False
        return True
