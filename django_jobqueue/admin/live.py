"""Jobs that live outside the listed database, or anywhere: to find, to look at, to cancel, to hurry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from django_jobqueue.admin import widgets
from django_jobqueue.admin.operations import Operation, perform_in
from django_jobqueue.admin.pages import Button, Event, Page, executions, page_url, worker_link, worker_names
from django_jobqueue.admin.rooms import RoomView
from django_jobqueue.admin.seen import posted
from django_jobqueue.admin.stores import database_of, queue_for, store_called, stores
from django_jobqueue.exceptions import STORE_ERRORS
from django_jobqueue.models import DeadLetterJob, DelayedJob, Job, JobHistory
from django_jobqueue.queues.base import JobSnapshot, Queue, Room

if TYPE_CHECKING:
    from django_jobqueue.admin.base import JobQueueAdmin

_KINDS = {Room.READY: "ready", Room.DELAYED: "delayed", Room.LEASED: "running"}


# -- where is it? ------------------------------------------------------------------------------------------------------


def find(model_admin: JobQueueAdmin, request: HttpRequest) -> HttpResponse:
    """To the page of a job, wherever it is: live in any store, dead, or in the history."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    text = request.GET.get("id", "").strip()
    try:
        job_id = UUID(text)
    except ValueError:
        messages.warning(request, _t("“%(text)s” is no job id.") % {"text": widgets.cut(text, 60)})
        return HttpResponseRedirect(url_of("queues"))
    found = _live_somewhere(request, job_id, stores()) or _over_somewhere(job_id)
    if not found:
        messages.warning(request, _t("No store, no dead letter and no history knows the job %(id)s.") % {"id": job_id})
    return HttpResponseRedirect(found or url_of("queues"))


def outside(request: HttpRequest, text: str) -> str:
    """The page of a job that is not in the database the admin lists, because it lives in another kind of store."""
    try:
        job_id = UUID(text)
    except ValueError:
        return ""
    return _live_somewhere(request, job_id, [queue for queue in stores() if queue.store])


def _live_somewhere(request: HttpRequest, job_id: UUID, queues: Sequence[Queue]) -> str:
    for queue in queues:
        try:
            if queue.find(job_id) is not None:
                return live_url(queue, job_id)
        except STORE_ERRORS as error:
            messages.warning(request, no_answer(queue, error))
    return ""


def _over_somewhere(job_id: UUID) -> str:
    if _rows(DeadLetterJob).filter(pk=job_id).exists():
        return page_url(DeadLetterJob, job_id)
    if _rows(JobHistory).filter(job_id=job_id).exists():
        return f"{reverse('admin:django_jobqueue_jobhistory_changelist')}?{urlencode({'q': str(job_id)})}"
    return ""


def _rows(model: type[Model]) -> Any:
    return model._default_manager.using(database_of(model))


def no_answer(queue: Queue, error: Exception) -> str:
    words = _t("The store “%(store)s” is out of reach: %(error)s")
    return words % {"store": queue.alias, "error": widgets.cut(error, 500)}


def live_url(queue: Queue, job_id: UUID) -> str:
    """The page of a live job: that of its row, or for a job without one in the listed database, that of its store."""
    if not queue.store and queue.database == database_of(Job):
        return page_url(Job, job_id)
    return url_of("live", queue.alias, job_id)


def look_up_link(using: str, store: str, job_id: UUID) -> SafeString | str:
    """A link that asks the store, for pages that must not depend on its answer."""
    queue = queue_for(using, store)
    if queue is None:
        return ""
    return widgets.link(url_of("live", queue.alias, job_id), _t("look it up in %(store)s") % {"store": store})


def url_of(name: str, *args: Any) -> str:
    return reverse(f"admin:django_jobqueue_job_{name}", args=args)


# -- one live job ------------------------------------------------------------------------------------------------------


def live(model_admin: JobQueueAdmin, request: HttpRequest, alias: str, job_id: UUID) -> HttpResponse:
    """A job as its store sees it."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    queue = _store_or_404(alias)
    stand_in = Job(id=job_id)
    try:
        snapshot = queue.find(job_id)
    except STORE_ERRORS as error:
        page = _silent_page(queue, job_id, no_answer(queue, error))
    else:
        if snapshot is None:
            return _moved_on(request, job_id)
        stand_in.task = snapshot.task
        page = _live_page(queue, snapshot)
        page.buttons = [_button(queue, job_id, one) for one in model_admin.operations if one.is_allowed(request)]
    context = {**model_admin.page_context(request, stand_in), "history_url": "", "page": page}
    return TemplateResponse(request, "admin/django_jobqueue/detail.html", context)


def act(
    model_admin: JobQueueAdmin, request: HttpRequest, alias: str, job_id: UUID, operation: Operation
) -> HttpResponse:
    """A button of the page of a live job."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not operation.is_allowed(request):
        raise PermissionDenied
    queue = _store_or_404(alias)
    try:
        snapshot = queue.find(job_id)
    except STORE_ERRORS as error:
        messages.error(request, no_answer(queue, error))
    else:
        if snapshot is None:
            return _moved_on(request, job_id)
        perform_in(request, operation, queue, Job(id=job_id, task=snapshot.task), posted(request))
    return HttpResponseRedirect(_back(model_admin, request))


def _back(model_admin: JobQueueAdmin, request: HttpRequest) -> str:
    return url_of("queues") if model_admin.has_view_permission(request) else model_admin.list_url(request)


def _store_or_404(alias: str) -> Queue:
    queue = store_called(alias)
    if queue is None:
        raise Http404(_t("No entry of TASKS is called “%(alias)s”.") % {"alias": widgets.cut(alias, 60)})
    return queue


def _moved_on(request: HttpRequest, job_id: UUID) -> HttpResponse:
    """It was live when the link was made; the tables know what became of it, unless they are told nothing."""
    found = _over_somewhere(job_id)
    words = (
        _t("It is live no more; this is what became of it.") if found else _t("Its store does not know it any more.")
    )
    messages.warning(request, words)
    return HttpResponseRedirect(found or url_of("queues"))


def _silent_page(queue: Queue, job_id: UUID, words: str) -> Page:
    events, bad = executions(queue.database, job_id)
    facts: list[tuple[Any, Any]] = [(_("Store"), queue.alias), (_("Job id"), widgets.code(job_id))]
    return Page(
        widgets.code(job_id), widgets.badge("", _t("unknown"), "bad"), words, facts=facts, events=events, unreadable=bad
    )


def _live_page(queue: Queue, job: JobSnapshot) -> Page:
    room = _room(queue, job)
    events, bad = executions(queue.database, job.job_id)
    born = Event(_t("Enqueued"), widgets.clock(job.created_at))
    return Page(
        title=widgets.task_name(job.task),
        badge=room.badge,
        lead=room.words,
        call=widgets.stored_call(job.args),
        facts=[
            (_("Store"), queue.alias),
            (_("Worker"), worker_link(queue.database, room.worker_id)),
            (_("Running since"), widgets.clock(room.since) if room.kind == "running" else ""),
            (_("Due at"), widgets.clock(room.due_at) if room.due_at else ""),
            (_("Queue"), job.queue),
            (_("Priority"), job.priority),
            (_("Attempts"), _t("%(spent)s of %(allowed)s") % {"spent": job.attempt, "allowed": job.max_attempts}),
            (_("Enqueued"), widgets.clock(job.created_at)),
            (_("Job id"), widgets.code(job.job_id)),
        ],
        events=[born, *events, Event(format_html("{} {}", room.badge, room.words), "", "now")],
        unreadable=bad,
    )


def _room(queue: Queue, job: JobSnapshot) -> RoomView:
    room = RoomView(_KINDS[job.room], job.attempt, job.lease_no, since=job.claimed_at, due_at=job.due_at)
    room.reason, room.is_asked_to_stop = job.reason, job.is_asked_to_stop
    room.reason_label = str(dict(DelayedJob.Reason.choices).get(job.reason, job.reason))
    if job.worker_id is not None:
        room.worker_id = job.worker_id
        name = worker_names(queue.database, [job.worker_id]).get(job.worker_id)
        room.worker = name or widgets.short_id(job.worker_id)
    return room


def _button(queue: Queue, job_id: UUID, operation: Operation) -> Button:
    url = url_of(f"live_{operation.name}", queue.alias, job_id)
    return Button(url, operation.label, operation.tone, operation.confirm)
