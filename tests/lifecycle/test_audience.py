"""Nobody is told what nobody hears; and whoever might hear is told."""

from __future__ import annotations

import logging

import pytest
from django.dispatch import Signal
from django.utils.log import DEFAULT_LOGGING, RequireDebugFalse, RequireDebugTrue

from django_jobqueue.lifecycle.audience import Audience, is_lost


@pytest.fixture
def log():
    """A logger that nobody knows: pytest puts handlers of its own on all others."""
    return logging.Logger("tests.audience", logging.INFO)


def handler(level=logging.NOTSET, *filters):
    made = logging.StreamHandler()
    made.setLevel(level)
    for one in filters:
        made.addFilter(one)
    return made


class TestALostRecord:
    def test_is_one_below_the_level_of_its_logger(self, log):
        log.addHandler(handler())
        assert is_lost(log, logging.DEBUG)
        assert not is_lost(log, logging.INFO)

    def test_is_one_without_handlers_that_the_last_resort_does_not_take(self, log):
        assert is_lost(log, logging.INFO)
        assert not is_lost(log, logging.ERROR)

    def test_is_one_that_no_handler_takes(self, log):
        log.addHandler(handler(logging.ERROR))
        log.addHandler(logging.NullHandler())
        assert is_lost(log, logging.INFO)
        assert not is_lost(log, logging.ERROR)

    def test_is_what_django_logs_by_default_with_debug_off(self, log, settings):
        assert DEFAULT_LOGGING["handlers"]["console"]["filters"] == ["require_debug_true"]
        log.addHandler(handler(logging.INFO, RequireDebugTrue()))
        settings.DEBUG = False
        assert is_lost(log, logging.INFO)
        settings.DEBUG = True
        assert not is_lost(log, logging.INFO)

    def test_is_none_that_a_handler_of_a_parent_takes(self, log):
        log.addHandler(handler())
        child = logging.Logger("tests.audience.child", logging.INFO)
        child.parent = log
        assert not is_lost(child, logging.INFO)
        child.propagate = False
        assert is_lost(child, logging.INFO)

    @pytest.mark.parametrize("one", [RequireDebugFalse(), lambda record: False], ids=["of Django", "own"])
    def test_is_none_that_a_filter_may_see(self, log, one):
        log.addHandler(handler(logging.INFO, one))
        assert not is_lost(log, logging.INFO)
        log.handlers.clear()
        log.addFilter(one)
        assert not is_lost(log, logging.INFO)

    @pytest.mark.parametrize("name", ["debug", "info", "log", "_log", "makeRecord", "handle", "callHandlers"])
    def test_is_none_where_an_error_tracker_has_replaced_a_method(self, log, monkeypatch, name):
        """Sentry's makes a breadcrumb of every record in `callHandlers`, whether there is a handler or not."""
        monkeypatch.setattr(logging.Logger, name, lambda self, *arguments: None)
        assert not is_lost(log, logging.INFO)

    def test_is_none_where_an_agent_has_put_a_proxy_around_a_method(self, log, monkeypatch):
        """As `wrapt` does for the forwarding of logs by New Relic and Datadog: it looks like the method itself."""

        class Proxy:
            def __init__(self, wrapped):
                self.wrapped = wrapped

            def __getattr__(self, name):
                return getattr(self.wrapped, name)

        monkeypatch.setattr(logging.Logger, "callHandlers", Proxy(logging.Logger.callHandlers))
        assert not is_lost(log, logging.INFO)

    def test_is_none_of_a_logger_that_was_given_a_method_of_its_own(self, log, monkeypatch):
        monkeypatch.setattr(log, "info", print)
        assert not is_lost(log, logging.INFO)

    def test_is_none_of_a_logger_class_or_a_record_factory_of_the_projects_own(self, log, monkeypatch):
        class Own(logging.Logger):
            pass

        assert not is_lost(Own("own", logging.INFO), logging.INFO)
        monkeypatch.setattr(logging, "_logRecordFactory", lambda *arguments: None)
        assert not is_lost(log, logging.INFO)


def write(**_):
    """In the place of Django's own log."""


class TestAnAudience:
    @pytest.fixture
    def signal(self):
        signal = Signal()
        signal.connect(write)
        return signal

    def test_is_not_there_when_only_a_log_without_handlers_listens(self, signal, log):
        assert not Audience(signal, write, log, logging.INFO).is_there()

    def test_is_not_there_without_receivers(self, log):
        log.addHandler(handler())
        assert not Audience(Signal(), write, log, logging.INFO).is_there()

    def test_is_there_at_once_when_somebody_connects_and_gone_when_he_leaves(self, signal, log):
        audience = Audience(signal, write, log, logging.INFO)
        assert not audience.is_there()

        def receiver(**_):
            pass

        signal.connect(receiver)
        assert audience.is_there()
        signal.disconnect(receiver)
        assert not audience.is_there()

    def test_is_there_at_once_when_somebody_takes_the_place_of_the_log(self, signal, log):
        audience = Audience(signal, write, log, logging.INFO)
        assert not audience.is_there()

        def receiver(**_):
            pass

        signal.disconnect(write)
        signal.connect(receiver)
        assert audience.is_there()

    def test_is_there_for_a_thread_whose_receiver_connects_while_another_looks(self, signal, log, monkeypatch):
        """What the first had begun to find out before is no answer for the second."""
        audience = Audience(signal, write, log, logging.INFO)
        assert not audience.is_there()
        signal.connect(receiver := lambda **_: None)
        look, answers = audience._look, []

        def interrupted():
            monkeypatch.setattr(audience, "_look", look)
            answers.append(audience.is_there())
            return look()

        monkeypatch.setattr(audience, "_look", interrupted)
        assert audience.is_there()
        assert answers == [True]
        signal.disconnect(receiver)

    def test_is_there_at_once_when_a_handler_comes_and_gone_when_the_logger_is_shut(self, signal, log):
        audience = Audience(signal, write, log, logging.INFO)
        assert not audience.is_there()
        log.addHandler(handler())
        assert audience.is_there()
        log.disabled = True
        assert not audience.is_there()

    def test_is_there_a_second_after_a_handler_was_opened(self, signal, log, monkeypatch):
        now = [100.0]
        monkeypatch.setattr("django_jobqueue.lifecycle.audience.time.monotonic", lambda: now[0])
        log.addHandler(handler(logging.ERROR))
        audience = Audience(signal, write, log, logging.INFO)
        assert not audience.is_there()
        log.handlers[0].setLevel(logging.INFO)
        now[0] += 1.0
        assert audience.is_there()
