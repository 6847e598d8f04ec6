"""Early pytest plugin: starts the servers of `tests/servers` before pytest-django reads the settings.

A conftest.py is too late for that, hence `-p tests.services` in pyproject.toml. Variables it understands:

    JOBQUEUE_TEST_SERVICES=none | postgres,redis,...    start only these (default: all that are found)
    JOBQUEUE_TEST_REQUIRE=postgres,redis,...            the run fails when one is missing or its tests were skipped
    JOBQUEUE_TEST_{POSTGRES,REDIS,...}_URL              use this server and start none

A test that needs a service carries its marker. Without the service it is skipped; the header and the summary
say so.
"""

from __future__ import annotations

import atexit
import os
from collections import Counter

import pytest

from tests import servers

SERVICES = ("postgres", "redis", "redis62", "cluster", "mariadb")
SERVICE = "service"


def start() -> dict[str, str]:
    """Start what is wanted, publish it in the environment, and return one line per service for the header."""
    wanted = names_in("JOBQUEUE_TEST_SERVICES", default=SERVICES)
    given = {name for name in SERVICES if url_variable(name) in os.environ}
    lines = dict.fromkeys(SERVICES, "not asked for (JOBQUEUE_TEST_SERVICES)") | dict.fromkeys(given, "given by its URL")
    if is_xdist_worker():
        return lines
    found = servers.launch(wanted - given)
    atexit.register(found.stop)
    os.environ.update(found.environment())
    for name, service in found.services.items():
        lines[name] = service.get("version") or f"MISSING: {service['missing']}"
    return lines


def names_in(variable: str, default: tuple[str, ...] = ()) -> set[str]:
    text = os.environ.get(variable)
    names = set(default) if text is None else {name.strip() for name in text.split(",")} - {"", "none"}
    if unknown := names - set(SERVICES):
        raise pytest.UsageError(f"{variable}: {', '.join(sorted(unknown))} is none of {', '.join(SERVICES)}")
    return names


def url_variable(name: str) -> str:
    return f"JOBQUEUE_TEST_{name.upper()}_URL"


def is_available(name: str) -> bool:
    return url_variable(name) in os.environ


def is_xdist_worker() -> bool:
    """Workers inherit the controller's environment, and so its servers."""
    return "PYTEST_XDIST_WORKER" in os.environ


STARTED = start()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    for name in SERVICES:
        config.addinivalue_line("markers", f"{name}: needs a {name} server (see tests/services.py)")
    config.addinivalue_line("markers", "slow: takes seconds; left out of the quick legs by -m 'not slow'")
    missing = [name for name in required() if not is_available(name)]
    if missing and not is_xdist_worker():
        reasons = "; ".join(f"{name}: {STARTED[name]}" for name in missing)
        raise pytest.UsageError(f"required services are not here: {reasons}")
    config.pluginmanager.register(Tally(), "jobqueue-services-tally")


def required() -> list[str]:
    return sorted(names_in("JOBQUEUE_TEST_REQUIRE"))


def pytest_report_header() -> list[str]:
    return [f"services: {name}: {line}" for name, line in STARTED.items()]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name in filter(item.get_closest_marker, SERVICES):
            item.user_properties.append((SERVICE, name))
            if not is_available(name):
                item.add_marker(pytest.mark.skip(reason=f"no {name} server"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A cluster serves two seconds after its start: only the tests that use it wait."""
    if item.get_closest_marker("cluster") and is_available("cluster"):
        servers.wait_for_cluster(os.environ[url_variable("cluster")])


class Tally:
    """Counts the tests of each service, so that a leg that was not run can't look like one that passed."""

    def __init__(self) -> None:
        self.ran: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # not report.keywords: a directory or a parameter that is called like a service is among them
        for name in (value for key, value in report.user_properties if key == SERVICE):
            if report.skipped and not hasattr(report, "wasxfail"):
                self.skipped[name] += 1
            elif report.when == "call":
                self.ran[name] += 1

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not is_xdist_worker() and any(self.skipped[name] for name in required()) and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for name in SERVICES:
            if self.ran[name] or self.skipped[name]:
                terminalreporter.write_line(f"{name}: {self.ran[name]} tests ran, {self.skipped[name]} were skipped")
            if self.skipped[name] and name in required():
                terminalreporter.write_line(f"FAILED: {name} is required but its tests were skipped", red=True)
