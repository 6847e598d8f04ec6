"""The pages on which a schedule is made, changed, and run by hand with other arguments."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from django_jobqueue.admin import widgets
from django_jobqueue.admin.edit import JSONTextField, signature_of
from django_jobqueue.admin.operations import write_audit
from django_jobqueue.admin.schedule_form import ScheduleForm, WhenForm, seen_of, zones
from django_jobqueue.admin.schedule_operations import EDIT_PERMISSION, TRIGGER_PERMISSION
from django_jobqueue.admin.schedule_preview import Preview, preview
from django_jobqueue.admin.stores import database_of
from django_jobqueue.exceptions import STORE_ERRORS, InvalidSchedule, JobQueueError, PayloadError, SignatureMismatch
from django_jobqueue.jobs import codec
from django_jobqueue.models import RecurringJob
from django_jobqueue.scheduling import edits
from django_jobqueue.scheduling.service import SchedulerService

if TYPE_CHECKING:
    from django_jobqueue.admin.schedules import ScheduleAdmin

_FORM = "admin/django_jobqueue/schedule_form.html"
_SECTIONS = (
    (_("What"), ("name", "task", "args", "kwargs")),
    (_("When"), ("kind", "expression", "timezone", "starts_at", "ends_at")),
    (_("How"), ("backend", "queue", "priority", "misfire", "misfire_limit", "grace", "jitter", "overlap", "enabled")),
)


# -- made and changed --------------------------------------------------------------------------------------------------


def add(model_admin: ScheduleAdmin, request: HttpRequest) -> HttpResponse:
    if not model_admin.has_add_permission(request):
        raise PermissionDenied
    return _form_page(model_admin, request, None)


def edit(model_admin: ScheduleAdmin, request: HttpRequest, object_id: str) -> HttpResponse:
    """Only of those that were made here: what code declares is changed there, and would be changed back."""
    if not request.user.has_perm(EDIT_PERMISSION):
        raise PermissionDenied
    row = model_admin.get_object(request, unquote(object_id))
    if row is None:
        return model_admin.moved_on(request, object_id)
    if row.source != RecurringJob.Source.ADMIN:
        messages.warning(request, _t("It is declared in code: change it there. Here it can be paused and resumed."))
        return HttpResponseRedirect(model_admin.row_url(request, row))
    return _form_page(model_admin, request, row)


def _form_page(model_admin: ScheduleAdmin, request: HttpRequest, row: RecurringJob | None) -> HttpResponse:
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    using = str(row._state.db) if row is not None else database_of(RecurringJob)
    now = edits.store_now(using)
    options: dict[str, Any] = {"row": row, "using": using, "now": now}
    initial = {**_initial(row), **({} if row else request.GET.dict())}
    form = ScheduleForm(request.POST if request.method == "POST" else None, initial=initial, **options)
    if request.method == "POST" and form.is_valid() and "_preview" not in request.POST:
        saved = _save(request, form)
        if saved is not None:
            return HttpResponseRedirect(model_admin.row_url(request, saved))
    context = {
        **model_admin.page_context(request, row or RecurringJob(name=_t("New schedule"))),
        "form": form,
        "is_new": row is None,
        "sections": [(title, [form[name] for name in names]) for title, names in _SECTIONS],
        "zones": zones(),
        "zone_here": timezone.get_current_timezone_name(),
        "preview": _previewed(form, now),
        "signature": signature_of(str(form["task"].value() or "")),
        "preview_url": model_admin.reverse("preview"),
        "cancel_url": model_admin.row_url(request, row) if row is not None else model_admin.list_url(request),
    }
    return TemplateResponse(request, _FORM, context)


def _initial(row: RecurringJob | None) -> dict[str, Any]:
    if row is None:
        return {"timezone": timezone.get_default_timezone_name()}
    try:
        args, kwargs = codec.decode_call(row.args) if row.args else ([], {})
    except PayloadError:
        args, kwargs = [], {}
    plain = [name for _title, names in _SECTIONS for name in names if name not in ("args", "kwargs")]
    return {
        **{name: _as_typed(getattr(row, name)) for name in plain},
        "args": _indented(args),
        "kwargs": _indented(kwargs),
        "seen": seen_of(row),
    }


def _as_typed(value: Any) -> Any:
    """60 for 60.0"""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _indented(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _save(request: HttpRequest, form: ScheduleForm) -> RecurringJob | None:
    """The row as it is now. None: the form says why not."""
    try:
        fields = form.row_fields()
        if form.row is not None:
            words = _changes(form, form.row, fields)
            row = edits.changed(form.using, form.row.pk, **fields)
            write_audit(request, [row], words)
        else:
            row = RecurringJob(**fields, source=RecurringJob.Source.ADMIN)
            edits.plan(row, form.now)
            with transaction.atomic(using=form.using):  # a refused row must not break a transaction of the request
                row.save(using=form.using, force_insert=True)
            LogEntry.objects.log_actions(request.user.pk, [row], ADDITION, _t("Made."))  # type: ignore[arg-type]
    except InvalidSchedule as error:
        form.add_error("expression", str(error))
        return None
    except RecurringJob.DoesNotExist:
        form.add_error(None, _t("It is gone: somebody has removed it meanwhile."))
        return None
    except IntegrityError:
        form.add_error("name", _t("There is a schedule of this name already."))
        return None
    except STORE_ERRORS as error:
        form.add_error(None, str(error))
        return None
    messages.success(request, _t("Saved. A running scheduler follows within a second."))
    return row


def _changes(form: ScheduleForm, row: RecurringJob, fields: dict[str, Any]) -> str:
    """For the audit: what is not as it was."""
    names = [name for name, value in fields.items() if getattr(row, name) != value]
    labels = ", ".join(str(form.fields[name].label) for name in names)
    return _t("Changed: %(fields)s.") % {"fields": labels} if labels else _t("Saved without a change.")


# -- what comes next ---------------------------------------------------------------------------------------------------


def preview_of(model_admin: ScheduleAdmin, request: HttpRequest) -> HttpResponse:
    """The next runs of what is typed, as a piece of the page."""
    may_look = model_admin.has_view_permission(request)
    if not may_look and ("row" in request.GET or not model_admin.has_add_permission(request)):
        raise PermissionDenied
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    form = WhenForm(_of_row(request.GET["row"]) if "row" in request.GET else request.GET)
    now = edits.store_now(database_of(RecurringJob))
    context = {
        "preview": _previewed(form, now, request.GET.get("viewer", "")[:64]),
        "signature": signature_of(request.GET.get("task", "")[:255]),
        "is_short": "row" in request.GET,
    }
    return TemplateResponse(request, "admin/django_jobqueue/_preview.html", context)


def _of_row(key: str) -> dict[str, Any]:
    """What the form of a row would show; nothing when it is gone."""
    row = edits.rows_of(database_of(RecurringJob)).filter(pk=key).first() if key.isdecimal() and len(key) < 19 else None
    return {} if row is None else {name: getattr(row, name) for name in WhenForm.base_fields}


def _previewed(form: WhenForm, now: Any, viewer: str = "") -> Preview:
    """Of a bound form what was typed, of one that opens what it shows."""
    if not form.is_bound:
        form = WhenForm({name: form[name].value() for name in WhenForm.base_fields})
    form.errors  # noqa: B018, cleans it
    data = form.cleaned_data
    if "schedule" not in data:
        faults = [*form.errors.get("timezone", []), *form.errors.get("expression", [])]
        return Preview(problem=" ".join(map(str, faults)) if form["expression"].value() else "")
    try:
        dates = {name: data.get(name) for name in ("starts_at", "ends_at")}
        return preview(data["schedule"], now, viewer=viewer, **dates)
    except (ValueError, OverflowError) as error:
        return Preview(problem=str(error))


# -- by hand -----------------------------------------------------------------------------------------------------------


class RunForm(forms.Form):
    args = JSONTextField(label=_("Args"), shape=list, example='[7, "express"]', rows=3)
    kwargs = JSONTextField(label=_("Kwargs"), shape=dict, example='{"order_id": 7}', rows=10)


def run(model_admin: ScheduleAdmin, request: HttpRequest, object_id: str) -> HttpResponse:
    """Now, with the schedule's arguments or others: one job more, the rhythm stays as it is."""
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    if not request.user.has_perm(TRIGGER_PERMISSION):
        raise PermissionDenied
    row = model_admin.get_object(request, unquote(object_id))
    if row is None:
        return model_admin.moved_on(request, object_id)
    first = _initial(row)
    form = RunForm(request.POST) if request.method == "POST" else RunForm(initial=first)
    if request.method == "POST" and form.is_valid() and _started(request, row, form, first):
        return HttpResponseRedirect(model_admin.row_url(request, row))
    context = {
        **model_admin.page_context(request, row),
        "form": form,
        "row": row,
        "task": widgets.task_name(row.task),
        "is_chore": row.source == RecurringJob.Source.CHORE,
        "signature": signature_of(row.task),
        "cancel_url": model_admin.row_url(request, row),
    }
    return TemplateResponse(request, "admin/django_jobqueue/run_schedule.html", context)


def _started(request: HttpRequest, row: RecurringJob, form: RunForm, first: dict[str, Any]) -> bool:
    """Whether it was. When not, the form says why."""
    args, kwargs = form.cleaned_data["args"], form.cleaned_data["kwargs"]
    is_chore = row.source == RecurringJob.Source.CHORE
    is_edited = not is_chore and (_indented(args), _indented(kwargs)) != (first["args"], first["kwargs"])
    try:
        call = {"args": args, "kwargs": kwargs} if is_edited else {}
        job_id = SchedulerService.of(str(row._state.db)).trigger(row.name, **call)
    except PayloadError as error:
        form.add_error("kwargs" if error.path.startswith("kwargs") else "args", str(error))
        return False
    except SignatureMismatch as error:
        form.add_error(None, _t("The task can't be called like this: %(error)s") % {"error": error})
        return False
    except (JobQueueError, *STORE_ERRORS) as error:
        form.add_error(None, str(error))
        return False
    write_audit(request, [row], _t("Run by hand with other arguments.") if is_edited else _t("Run by hand."))
    words = (
        format_html(_t("It runs now, as job <code>{}</code>."), job_id) if job_id else _t("A scheduler runs it now.")
    )
    messages.success(request, words)
    return True
