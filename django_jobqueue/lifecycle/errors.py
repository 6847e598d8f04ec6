"""An exception as text that any database can store and any page can show, whatever was raised."""

from __future__ import annotations

import hashlib
import re
from traceback import StackSummary, TracebackException, extract_tb, format_exception_only, format_list

from django_jobqueue.conf import conf
from django_jobqueue.queues.base import ErrorRecord

_MAX_FRAMES = 50
_MESSAGE_SHARE = 16
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_RAISED_AT = BaseException.__dict__["__traceback__"].__get__  # a class of its own may hide the attribute, or raise


def describe(exception: BaseException) -> ErrorRecord:
    """Class, message, traceback and fingerprint of an exception, each cut to size (`MAX_ERROR_CHARS`).

    The fingerprint is the same for the same class raised at the same place in the code: line numbers and messages are
    left out, because they change with each release and each customer.
    """
    limit = conf().MAX_ERROR_CHARS
    kind = type(exception)
    path = class_path(kind)
    return ErrorRecord(
        class_path=clean(path, 255),
        message=clean(_message(exception), limit // _MESSAGE_SHARE),
        traceback=clean(_traceback(exception), limit),
        fingerprint=_fingerprint(path, exception),
    )


def class_path(kind: type[BaseException]) -> str:
    try:
        return f"{kind.__module__}.{kind.__qualname__}"
    except BaseException:  # both may be made of anything, by the class or its metaclass
        return "an exception class without a name"


def clean(text: str, limit: int) -> str:
    """Text without NUL and lone surrogates (no database takes both), cut in the middle to `limit` characters."""
    text = _UNSTORABLE.sub("\ufffd", text[: 2 * limit] + text[-limit:] if len(text) > 3 * limit else text)
    if len(text) <= limit:
        return text
    cut = "\n[…]\n"
    tail = limit // 2
    return text[: limit - tail - len(cut)] + cut + text[len(text) - tail :] if limit > 64 else text[:limit]


def _message(exception: BaseException) -> str:
    try:
        return str.__str__(str(exception))  # a subclass of str may do anything when it is cut
    except BaseException as error:  # a task's own exception class may be broken too
        return f"<str() of the exception raised {type(error).__name__}>"


def _traceback(exception: BaseException) -> str:
    try:
        # Limits, because a cause chain or an exception group may hold ten thousand.
        report = TracebackException.from_exception(
            exception, limit=-_MAX_FRAMES, compact=True, max_group_width=15, max_group_depth=5
        )
        return "".join(_bounded(report))
    except BaseException:
        frames = extract_tb(_RAISED_AT(exception), limit=-_MAX_FRAMES)
        return "".join([*format_list(frames), *_only(exception)])


def _bounded(report: TracebackException) -> list[str]:
    """The lines of a report until they are more than anybody stores."""
    lines: list[str] = []
    size, enough = 0, 2 * conf().MAX_ERROR_CHARS
    for line in report.format():
        lines.append(line)
        size += len(line)
        if size > enough:
            break
    return lines


def _only(exception: BaseException) -> list[str]:
    try:
        return format_exception_only(exception)
    except BaseException:
        return [f"{class_path(type(exception))}: <unprintable>\n"]


def _fingerprint(path: str, exception: BaseException) -> str:
    frames: StackSummary = extract_tb(_RAISED_AT(exception), limit=-5)
    places = [f"{frame.filename.rsplit('/', 2)[-1]}:{frame.name}" for frame in frames]
    return hashlib.sha1("|".join([path, *places]).encode("utf-8", "replace"), usedforsecurity=False).hexdigest()[:16]
