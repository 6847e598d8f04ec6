"""A crontab: lines of `crontab -l`, or of a file in /etc/cron.d.

Only lines that call `manage.py` (or `django-admin`) can become schedules: what to enqueue instead of the command is
said by `--map`. Everything before `manage.py` (a user, `cd`, the interpreter) and after a redirection is left out.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from django_jobqueue.jobs.schedule import cron
from django_jobqueue.scheduling.importers.found import Found, Origin, Refused, attempt, distinct

_SETTING = re.compile(r"""\s*(\w+|"\w+"|'\w+')\s*=\s*(.*)$""")
_COMMAND = re.compile(r"(?:^|[\s/;&|'\"])(?:manage\.py|django-admin(?:\.py)?)\s+(.*)$")
_END = re.compile(r"\s*(?:\d?>|<|\||&&|;|&).*$")
_NICKNAME = re.compile(r"(@\w+)\s+(.*)$")
_FIELDS = re.compile(r"((?:\S+\s+){5})(.*)$")


class _Line(NamedTuple):
    when: str
    command: str
    timezone: str
    words: list[str]

    @property
    def label(self) -> str:
        return " ".join(self.words) or self.command[:200]


def read(origin: Origin) -> list[Found]:
    lines = list(_lines(origin))
    names = distinct([line.label for line in lines], [f"({line.when})" for line in lines])
    return [
        attempt(name, partial(_found, name, line), line.words[0] if line.words else "")
        for line, name in zip(lines, names, strict=True)
    ]


def _lines(origin: Origin) -> Iterator[_Line]:
    timezone = origin.timezone
    for raw in origin.lines:
        text = raw.strip()
        if not text or text.startswith("#"):
            continue
        if setting := _SETTING.match(text):
            if setting[1].strip("\"'") == "CRON_TZ":
                timezone = setting[2].strip().strip("\"'") or origin.timezone
            continue
        match = (_NICKNAME if text.startswith("@") else _FIELDS).match(text)
        when, command = (match[1].strip(), match[2]) if match else ("", text)
        yield _Line(" ".join(when.split()), command, timezone, _words(command))


def _words(command: str) -> list[str]:
    """The management command and its arguments; nothing when the line calls none."""
    match = _COMMAND.search(re.split(r"(?<!\\)%", command)[0].replace("\\%", "%"))
    if match is None:
        return []
    try:
        return shlex.split(_END.sub("", match[1]), comments=True)
    except ValueError:
        return []


def _found(name: str, line: _Line) -> Found:
    if not line.when:
        raise Refused("the line has no five fields of time")
    if line.when == "@reboot":
        raise Refused("it runs when the machine starts, which is no time: start it from what starts your workers")
    if not line.words:
        raise Refused("it doesn't call manage.py: wrap what it does in a task and schedule that")
    command, *args = line.words
    return Found(name=name, task=command, args=args, is_command=True, schedule=cron(line.when, line.timezone))
