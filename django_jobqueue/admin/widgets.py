"""How a value looks: every function takes whatever is stored and gives escaped HTML or plain text, and never raises."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.utils import timezone
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from django_jobqueue.exceptions import PayloadError
from django_jobqueue.jobs import codec

SHOWN_CHARS = 100_000
"""A longer text is cut: browsers, and people, give up on megabytes."""
_COLOURED_CHARS = 40_000
_TOKENS = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|(-?\d[\d.eE+-]*)')

TONES = {
    "completed": "good",
    "running": "good",
    "retrying": "warn",
    "retry": "warn",
    "snoozed": "info",
    "snooze": "info",
    "scheduled": "info",
    "ready": "info",
    "quiet": "warn",
    "stopping": "warn",
    "lost": "bad",
    "failed": "bad",
    "dead": "bad",
    "silent": "bad",
}


def badge(value: str, label: Any, tone: str = "") -> SafeString:
    return format_html('<span class="jq-badge jq-{}">{}</span>', tone or TONES.get(str(value), "mute"), label)


def short_task(name: Any) -> str:
    """`send_invoice` for `shop.tasks.send_invoice`"""
    return str(name).rpartition(".")[2] or str(name)


def task_name(name: Any) -> SafeString:
    """The function, and the module it is in, smaller."""
    module, _dot, function = str(name).rpartition(".")
    if not function:
        module, function = "", str(name)
    where = format_html('<span class="jq-module">{}</span>', cut(module, 120)) if module else ""
    return format_html('<span class="jq-task">{}</span>{}', cut(function, 120) or "—", where)


def cut(text: Any, length: int) -> str:
    whole = str("" if text is None else text)
    return whole if len(whole) <= length else f"{whole[: length - 1]}…"


# -- times -------------------------------------------------------------------------------------------------------------


def number(value: Any) -> float | None:
    """A number that can be shown; a column of SQLite may hold anything."""
    if isinstance(value, int | float) and abs(value) < 1e15:
        return float(value)
    return None


def duration(milliseconds: Any) -> str:
    """`3 ms`, `1.2 s`, `4 min 5 s`, `3 h 2 min`, `5 d 4 h`"""
    value = number(milliseconds)
    if value is None:
        return "—"
    sign, value = ("-", -value) if value < 0 else ("", value)
    if value < 1_000:
        return f"{sign}{value:.0f} ms"
    seconds = value / 1_000
    if seconds < 60:
        return f"{sign}{seconds:.1f} s"
    return sign + _two_units(int(seconds))


def _two_units(seconds: int) -> str:
    for size, unit, smaller_size, smaller in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            rest = seconds % size // smaller_size
            return f"{seconds // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{seconds} s"


def clock(moment: Any) -> str:
    """Date and time to the second, in the reader's time zone."""
    if not isinstance(moment, datetime):
        return "—"
    try:
        return f"{timezone.localtime(moment) if timezone.is_aware(moment) else moment:%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError):
        return str(moment)


def ago(moment: Any, now: datetime | None = None) -> SafeString | str:
    """`3 min ago` or `in 5 h`; the exact time when pointed at."""
    if not isinstance(moment, datetime):
        return "—"
    try:
        seconds = ((now or timezone.now()) - moment).total_seconds()
    except (TypeError, OverflowError):
        return clock(moment)
    span = _span(abs(seconds))
    words = _("%(span)s ago") % {"span": span} if seconds >= 0 else _("in %(span)s") % {"span": span}
    if abs(seconds) < 1:
        words = _("just now")
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), clock(moment), words)


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size):,} {unit}"
    return f"{int(seconds)} s"


def since(moment: Any) -> str:
    """How long since then, without words around it."""
    if not isinstance(moment, datetime):
        return "—"
    try:
        return duration((timezone.now() - moment).total_seconds() * 1_000)
    except (TypeError, OverflowError):
        return "—"


def from_nanoseconds(value: Any) -> datetime | None:
    """The moment in a place in the line (see `JobPriority.seq`)."""
    try:
        moment = datetime.fromtimestamp(value / 1e9, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
    return moment if timezone.is_aware(timezone.now()) else timezone.make_naive(moment)


# -- calls and JSON ----------------------------------------------------------------------------------------------------


def call_preview(text: Any, length: int = 70) -> str:
    """The start of a stored call as one would type it: `7, amount="9.90"`. The text itself when it is no call."""
    try:
        args, kwargs = codec.decode_call(text)
    except PayloadError:
        return cut(text, length)
    parts = [_brief(value) for value in args[:10]] + [f"{name}={_brief(value)}" for name, value in kwargs.items()]
    return cut(", ".join(parts), length)


def _brief(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def pretty(value: Any) -> SafeString:
    """A JSON value, indented and coloured."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if len(text) > _COLOURED_CHARS:
        return escape(cut(text, SHOWN_CHARS))
    parts: list[tuple[str, str]] = []
    position = 0
    for match in _TOKENS.finditer(text):
        parts += [("", text[position : match.start()]), *_coloured(match)]
        position = match.end()
    parts.append(("", text[position:]))
    return mark_safe("".join(_span_of(kind, piece) for kind, piece in parts))


def _coloured(match: re.Match[str]) -> list[tuple[str, str]]:
    string, colon, word, digits = match.groups()
    if string is not None:
        return [("key" if colon else "string", string), ("", colon or "")]
    return [("word", word) if word else ("number", digits)]


def _span_of(kind: str, text: str) -> str:
    return format_html('<span class="jq-json-{}">{}</span>', kind, text) if kind else escape(text)


def stored_call(text: Any) -> dict[str, Any]:
    """A stored call for `_call.html`: `parts` of (title, HTML), or the raw text and what is wrong with it."""
    try:
        args, kwargs = codec.decode_call(text)
    except PayloadError as error:
        return {"raw": cut(text, SHOWN_CHARS), "problem": str(error)}
    parts = [(_("Positional"), args), (_("Keyword"), kwargs)]
    return {"parts": [(title, pretty(value)) for title, value in parts if value]}


def stored_value(text: Any) -> SafeString:
    """A stored result, pretty when it is JSON."""
    try:
        return pretty(codec.decode(text))
    except PayloadError:
        return escape(cut(text, SHOWN_CHARS))


# -- links -------------------------------------------------------------------------------------------------------------


def short_id(value: Any) -> str:
    """The end of an id: the start of ids of one moment is the same."""
    return f"…{str(value)[-12:]}" if isinstance(value, UUID) else cut(value, 40)


def link(url: str, text: Any) -> SafeString:
    return format_html('<a href="{}">{}</a>', url, text)


def code(text: Any) -> SafeString:
    return format_html("<code>{}</code>", cut(text, 500))


def words(values: list[str]) -> SafeString:
    return format_html_join(" ", '<span class="jq-chip">{}</span>', ((value,) for value in values))
