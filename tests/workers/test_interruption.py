"""An exception is raised in a thread while its job runs there, and at no other moment."""

from __future__ import annotations

import sys
import threading
import time

from django_jobqueue.workers import interruption
from django_jobqueue.workers.interruption import Interrupted, ThreadWindow
from tests.waiting import wait_until


def test_nothing_is_raised_in_a_thread_whose_job_has_ended():
    """Interrupted at any moment on its way out, or just after: the bookkeeping that follows is never hit."""
    escaped, caught, rounds = [], [], 2_000
    windows = []

    def work():
        for n in range(rounds):
            window = ThreadWindow()
            windows.append(window)
            try:
                try:
                    window.open()
                    for _ in range(n):
                        pass
                finally:
                    window.shut()
            except Interrupted:
                window.shut()
                caught.append(n)
            try:
                for _ in range(20):
                    pass
            except BaseException as error:
                escaped.append(error)

    thread = threading.Thread(target=work)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread.start()
        while thread.is_alive():
            if windows:
                windows[-1].interrupt(Interrupted)
    finally:
        sys.setswitchinterval(interval)
    assert escaped == []
    assert len(windows) == rounds
    assert caught


def test_a_job_does_not_end_while_something_is_about_to_be_raised_in_it(monkeypatch):
    """Seen to be open, it was shut, and the exception came in the middle of what followed."""
    raise_in, about_to = interruption._raise_in, threading.Event()

    def slowly(thread, cause):
        if cause is not None:
            about_to.set()
            time.sleep(0.1)
        raise_in(thread, cause)

    monkeypatch.setattr(interruption, "_raise_in", slowly)
    windows, followed = [], []

    def work():
        window = ThreadWindow()
        windows.append(window)
        try:
            window.open()
            about_to.wait(20)
        finally:
            window.shut()
        wait_until(lambda: not windows)
        followed.append("nothing was raised")

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: windows and windows[0].is_open)
    assert windows[0].interrupt(Interrupted)
    windows.clear()
    thread.join()
    assert followed


def test_the_cause_of_one_interruption_is_not_that_of_the_next_job():
    window = ThreadWindow()
    window.open()
    window.runs_elsewhere(lambda: None)
    window.interrupt(Interrupted)
    assert window.cause is Interrupted
    window.shut()
    window.open()
    assert window.cause is None
