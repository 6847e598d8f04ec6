"""Lines of a crontab."""

from __future__ import annotations

import pytest

from django_jobqueue.jobs.schedule import cron
from tests.scheduling.importers.peers import read

TEXT = r"""
# what a server had
MAILTO=ops@example.com
SHELL = "/bin/bash"
*/5 * * * * cd /srv/shop && /srv/venv/bin/python manage.py clearsessions >> /var/log/x.log 2>&1
CRON_TZ=America/New_York
0 8 * * 1-5 www-data flock -n /tmp/l python /srv/shop/manage.py send_digest --days 7 'two words'  # each morning
@daily /srv/venv/bin/django-admin clearsessions
0 9 * * * python manage.py report date=\%F%stdin
"""


def test_lines_that_call_manage_py():
    found = read("crontab", lines=TEXT.splitlines())
    assert [(one.name, one.task, list(one.args), one.schedule) for one in found.values()] == [
        ("clearsessions", "clearsessions", [], cron("*/5 * * * *", "Europe/Berlin")),
        (
            "send_digest --days 7 two words",
            "send_digest",
            ["--days", "7", "two words"],
            cron("0 8 * * 1-5", "America/New_York"),
        ),
        ("clearsessions (@daily)", "clearsessions", [], cron("@daily", "America/New_York")),
        ("report date=%F", "report", ["date=%F"], cron("0 9 * * *", "America/New_York")),
    ]
    assert all(one.is_command and not one.refused for one in found.values())


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("@reboot python manage.py runworker", "machine starts"),
        ("17 3 * * * /usr/local/bin/backup.sh", "doesn't call manage.py"),
        ("17 3 * * * python manage.py report 'open", "doesn't call manage.py"),
        ("61 3 * * * python manage.py report", "61"),
        ("python manage.py report", "five fields"),
        ("@every python manage.py report", "@every"),
    ],
)
def test_what_can_not_be_says_why(line, why):
    (one,) = read("crontab", lines=[line]).values()
    assert why in one.refused


def test_an_empty_file():
    assert read("crontab", lines=["", "# nothing"]) == {}
