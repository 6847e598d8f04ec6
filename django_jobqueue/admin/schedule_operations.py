"""What an operator may do with schedules: pause, resume, run now, remove. Each by permission, and written down."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from django_jobqueue.admin import widgets
from django_jobqueue.admin.operations import SECONDS, write_audit
from django_jobqueue.exceptions import STORE_ERRORS, JobQueueError
from django_jobqueue.lifecycle.dead_letters import id_chunks
from django_jobqueue.models import RecurringJob
from django_jobqueue.scheduling import edits
from django_jobqueue.scheduling.service import SchedulerService

TRIGGER_PERMISSION = "django_jobqueue.trigger_recurringjob"
PAUSE_PERMISSION = "django_jobqueue.pause_recurringjob"
EDIT_PERMISSION = "django_jobqueue.change_recurringjob"
REMOVE_PERMISSION = "django_jobqueue.delete_recurringjob"
_REFUSALS_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class ScheduleOperation:
    """One thing to do with a schedule. `work` says whether anything was done with this row; what it raises is shown.

    `done` is a message with `%(count)d`, `logged` what the audit says of each.
    """

    name: str
    permission: str
    label: Any
    done: Any
    logged: Any
    nothing: Any
    work: Callable[[RecurringJob], bool]
    confirm: Any = ""
    tone: str = ""

    def is_allowed(self, request: HttpRequest) -> bool:
        return request.user.has_perm(self.permission)


def _pause(row: RecurringJob) -> bool:
    return edits.pause(_using(row), row.pk) > 0


def _resume(row: RecurringJob) -> bool:
    return edits.resume(_using(row), row.pk) > 0


def _trigger(row: RecurringJob) -> bool:
    SchedulerService.of(_using(row)).trigger(row.name)
    return True


def _remove(row: RecurringJob) -> bool:
    return SchedulerService.of(_using(row)).remove(row.name)


def _using(row: RecurringJob) -> str:
    return str(row._state.db)


PAUSE = ScheduleOperation(
    name="pause",
    permission=PAUSE_PERMISSION,
    label=_("Pause"),
    done=ngettext_lazy("%(count)d schedule is paused.", "%(count)d schedules are paused.", "count"),
    nothing=_("Nothing was paused: it was so already."),
    logged=_("Paused."),
    work=_pause,
)
RESUME = ScheduleOperation(
    name="resume",
    permission=PAUSE_PERMISSION,
    label=_("Resume"),
    done=ngettext_lazy("%(count)d schedule goes on.", "%(count)d schedules go on.", "count"),
    nothing=_("Nothing to resume: none of them is paused."),
    logged=_("Resumed."),
    work=_resume,
    tone="primary",
)
TRIGGER = ScheduleOperation(
    name="trigger",
    permission=TRIGGER_PERMISSION,
    label=_("Run now"),
    done=ngettext_lazy("%(count)d schedule runs now.", "%(count)d schedules run now.", "count"),
    nothing=_("Nothing was started."),
    logged=_("Run by hand."),
    work=_trigger,
)
REMOVE = ScheduleOperation(
    name="remove",
    permission=REMOVE_PERMISSION,
    label=_("Remove"),
    done=ngettext_lazy("%(count)d schedule removed.", "%(count)d schedules removed.", "count"),
    nothing=_("Nothing was removed: somebody else was faster."),
    logged=_("Removed."),
    work=_remove,
    confirm=_("Remove it? Its jobs stay; no new ones will come."),
    tone="danger",
)


def perform(request: HttpRequest, operation: ScheduleOperation, rows: Sequence[RecurringJob]) -> tuple[int, list[str]]:
    """With each of these. Gives how many it was done with, and why not with others."""
    done, refused = [], []
    for row in rows:
        try:
            if operation.work(row):
                done.append(row)
        except (JobQueueError, *STORE_ERRORS) as error:
            refused.append(f"{widgets.cut(row.name, 80)}: {widgets.cut(error, 500)}")
    write_audit(request, done, str(operation.logged))
    return len(done), refused


def perform_on_rows(request: HttpRequest, operation: ScheduleOperation, rows: QuerySet[Any]) -> None:
    """On every row of a query, as far as the time of one click allows."""
    plain = rows.model._default_manager.using(rows.db).defer("args", "last_error")
    deadline = time.monotonic() + SECONDS
    count, refused, is_unfinished = 0, list[str](), False
    for ids in id_chunks(rows, size=100):
        if time.monotonic() > deadline:
            is_unfinished = True
            break
        more, why = perform(request, operation, list(plain.filter(pk__in=ids)))
        count, refused = count + more, refused + why
    tell(request, operation, count, refused)
    if is_unfinished:
        messages.warning(request, _t("There are more. Run the action again to go on."))


def tell(request: HttpRequest, operation: ScheduleOperation, count: int, refused: Sequence[str]) -> None:
    if count:
        messages.success(request, operation.done % {"count": count})
    elif not refused:
        messages.warning(request, operation.nothing)
    for words in refused[:_REFUSALS_SHOWN]:
        messages.error(request, words)
    if len(refused) > _REFUSALS_SHOWN:
        messages.error(request, _t("…and %(count)d more like these.") % {"count": len(refused) - _REFUSALS_SHOWN})
