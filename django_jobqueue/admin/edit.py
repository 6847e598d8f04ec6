"""The page on which a dead letter gets other arguments before it runs again."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from django_jobqueue.admin import widgets
from django_jobqueue.admin.operations import missing, write_audit
from django_jobqueue.admin.stores import queue_for
from django_jobqueue.conf import conf
from django_jobqueue.exceptions import STORE_ERRORS, JobNotFound, PayloadError, SignatureMismatch
from django_jobqueue.jobs import codec
from django_jobqueue.jobs.registry import is_registered, lookup
from django_jobqueue.lifecycle.dead_letters import retry_edited
from django_jobqueue.models import DeadLetterJob

if TYPE_CHECKING:
    from django_jobqueue.admin.base import JobQueueAdmin


class JSONTextField(forms.CharField):
    """JSON of one shape, read by the codec that will store it, so that what it accepts is what will run."""

    def __init__(self, *, shape: type, example: str, rows: int, **kwargs: Any) -> None:
        attrs = {"class": "jq-editor", "rows": rows, "spellcheck": "false", "autocomplete": "off"}
        super().__init__(widget=forms.Textarea(attrs=attrs), required=False, **kwargs)
        self.shape, self.example = shape, example

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            return self.shape()
        try:
            decoded = codec.decode(text, max_bytes=conf().MAX_PAYLOAD_BYTES, root=str(self.label).lower())
        except PayloadError as error:
            raise forms.ValidationError(str(error)) from None
        if type(decoded) is not self.shape:
            raise forms.ValidationError(_t("This must be JSON such as %(example)s") % {"example": self.example})
        return decoded


class EditForm(forms.Form):
    args = JSONTextField(label=_("Args"), shape=list, example='[7, "express"]', rows=4)
    kwargs = JSONTextField(label=_("Kwargs"), shape=dict, example='{"order_id": 7}', rows=14)
    lease_no = forms.IntegerField(required=False, widget=forms.HiddenInput)


def edit_and_retry(model_admin: JobQueueAdmin, request: HttpRequest, object_id: str, permission: str) -> HttpResponse:
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    if not request.user.has_perm(permission):
        raise PermissionDenied
    letter = model_admin.get_object(request, unquote(object_id))
    if letter is None:
        return model_admin.moved_on(request, object_id)
    form, problem = first_form(letter)
    if request.method == "POST":
        form = EditForm(request.POST)
        if form.is_valid() and _retry(request, letter, form):
            return HttpResponseRedirect(model_admin.list_url(request))
    context = {
        **model_admin.page_context(request, letter),
        "form": form,
        "letter": letter,
        "task": widgets.task_name(letter.task),
        "signature": signature_of(letter.task),
        "raw": widgets.cut(letter.args, widgets.SHOWN_CHARS) if problem else "",
        "problem": problem,
        "error": f"{letter.error_class.rpartition('.')[2]}: {widgets.cut(letter.error_message, 500)}".strip(": "),
        "cancel_url": model_admin._url(request, "change", letter.pk),
    }
    return TemplateResponse(request, "admin/django_jobqueue/edit_retry.html", context)


def first_form(letter: DeadLetterJob) -> tuple[EditForm, str]:
    """The form as it opens; for arguments that can't be decoded, empty, and what is wrong with them."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    problem = ""
    try:
        args, kwargs = codec.decode_call(letter.args)
    except PayloadError as error:
        problem = str(error)
    text = {"args": _indented(args), "kwargs": _indented(kwargs)}
    return EditForm(initial={**text, "lease_no": letter.lease_no}), problem


def _indented(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def signature_of(task: str) -> str:
    """How the task wants to be called; nothing when this process doesn't know it."""
    if not is_registered(task):
        return ""
    definition = lookup(task)
    signature = inspect.signature(definition.func)
    if definition.takes_context:
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])
    parameters = [one.replace(annotation=_Bare.of(one.annotation)) for one in signature.parameters.values()]
    signature = signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
    return widgets.cut(f"{widgets.short_task(task)}{signature}", 500)


class _Bare(str):
    """An annotation that is a string, printed without its quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    @classmethod
    def of(cls, annotation: Any) -> Any:
        return cls(annotation) if isinstance(annotation, str) else annotation


def _retry(request: HttpRequest, letter: DeadLetterJob, form: EditForm) -> bool:
    """Whether the page is done with. When not, the form says why."""
    using = str(letter._state.db)
    queue = queue_for(using, letter.store)
    if queue is None:
        form.add_error(None, missing(using, letter.store))
        return False
    data = form.cleaned_data
    try:
        retry_edited(queue, letter.pk, data["args"], data["kwargs"], lease_no=data["lease_no"])
    except JobNotFound:
        messages.warning(request, _t("Nothing was retried: somebody else was faster."))
        return True
    except PayloadError as error:
        form.add_error("kwargs" if error.path.startswith("kwargs") else "args", str(error))
        return False
    except SignatureMismatch as error:
        form.add_error(None, _t("The task can't be called like this: %(error)s") % {"error": error})
        return False
    except STORE_ERRORS as error:
        form.add_error(None, str(error))
        return False
    write_audit(request, [letter], _t("Retried with edited arguments."))
    messages.success(request, _t("The job runs again, with the edited arguments."))
    return True
