"""The form of a schedule: what is wrong is said next to the field, in the words of the values themselves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django import forms
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from django_jobqueue.admin import widgets
from django_jobqueue.admin.edit import JSONTextField
from django_jobqueue.admin.schedule_preview import aware
from django_jobqueue.admin.stores import stores
from django_jobqueue.conf import conf
from django_jobqueue.exceptions import InvalidPayload, InvalidSchedule, PayloadError, SignatureMismatch
from django_jobqueue.jobs.codec import encode_call
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.jobs.priority import MAX_PRIORITY, MIN_PRIORITY
from django_jobqueue.jobs.registry import is_registered, lookup, registered_names
from django_jobqueue.jobs.schedule import schedule_of
from django_jobqueue.models import RecurringJob
from django_jobqueue.scheduling.declared import GRACE, JITTER, YEARS, Declared
from django_jobqueue.scheduling.ticks import MOST_MISSED

_CODE = {"class": "jq-input jq-mono", "spellcheck": "false", "autocomplete": "off"}
_PLAIN = {"class": "jq-input", "autocomplete": "off"}
_TASKS_OWN = {**_PLAIN, "placeholder": _("the task's own")}
_COLUMNS = (
    *("name", "task", "schedule", "args", "backend", "queue", "priority"),
    *("jitter", "misfire", "misfire_limit", "grace", "overlap"),
)
_WHEN = {"kind", "expression", "timezone", "starts_at", "ends_at"}


def _moment(label: Any, help_text: Any) -> forms.DateTimeField:
    attrs = {**_PLAIN, "type": "datetime-local", "step": "1"}
    widget = forms.DateTimeInput(attrs=attrs, format="%Y-%m-%dT%H:%M:%S")
    return forms.DateTimeField(label=label, required=False, widget=widget, help_text=help_text, validators=[_storable])


def _storable(moment: datetime) -> None:
    if moment.year not in YEARS:
        raise forms.ValidationError(
            _t("Choose a year from %(first)d to %(last)d.") % {"first": YEARS[0], "last": YEARS[-1]}
        )


class WhenForm(forms.Form):
    """When it runs. Cleaned, it has a `schedule`."""

    kind = forms.ChoiceField(label=_("Kind"), choices=RecurringJob.Kind.choices, initial=RecurringJob.Kind.CRON)
    expression = forms.CharField(
        label=_("Expression"), max_length=200, required=False, widget=forms.TextInput(attrs=_CODE)
    )
    timezone = forms.CharField(
        label=_("Time zone"), max_length=64, widget=forms.TextInput(attrs={**_PLAIN, "list": "jq-zones"})
    )
    starts_at = _moment(_("Not before"), "")
    ends_at = _moment(_("Not after"), "")

    def clean_timezone(self) -> str:
        name: str = self.cleaned_data["timezone"]
        try:
            ZoneInfo(name)
        except (ValueError, OSError, LookupError):
            close = [zone for zone in zones() if name.casefold().replace(" ", "_") in zone.casefold()][:3]
            hint = (
                _t("Perhaps %(zones)s?") % {"zones": ", ".join(close)} if close else _t("Write Europe/Berlin, or UTC.")
            )
            words = _t("There is no time zone “%(name)s”.") % {"name": widgets.cut(name, 64)}
            raise forms.ValidationError(f"{words} {hint}") from None
        return name

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        if {"kind", "expression"} <= data.keys():
            try:
                schedule = schedule_of(data["kind"], data["expression"], data.get("timezone", "UTC"))
                if "timezone" in data:  # of a wrong zone only the expression's own faults are told
                    data["schedule"] = schedule
            except (InvalidSchedule, ValueError, OverflowError) as error:
                self.add_error("expression", str(error))
        if data.get("starts_at") and data.get("ends_at") and data["ends_at"] < data["starts_at"]:
            self.add_error("ends_at", _t("It would end before it begins."))
        return data


class ScheduleForm(WhenForm):
    """A whole schedule. `row` is the one that is changed, None for a new one; `using` where it is, `now` its clock."""

    name = forms.CharField(label=_("Name"), max_length=255, widget=forms.TextInput(attrs=_PLAIN))
    task = forms.ChoiceField(label=_("Task"))
    args = JSONTextField(label=_("Args"), shape=list, example='[7, "express"]', rows=3)
    kwargs = JSONTextField(label=_("Kwargs"), shape=dict, example='{"order_id": 7}', rows=5)
    enabled = forms.BooleanField(label=_("Enabled"), required=False, initial=True)
    backend = forms.ChoiceField(label=_("Backend"))
    queue = forms.CharField(label=_("Queue"), required=False, max_length=100, widget=forms.TextInput(attrs=_TASKS_OWN))
    priority = forms.IntegerField(
        label=_("Priority"),
        required=False,
        min_value=MIN_PRIORITY,
        max_value=MAX_PRIORITY,
        widget=forms.NumberInput(attrs=_TASKS_OWN),
    )
    misfire = forms.ChoiceField(
        label=_("Missed runs"), choices=RecurringJob.Misfire.choices, initial=RecurringJob.Misfire.ONCE
    )
    misfire_limit = forms.IntegerField(
        label=_("At most"),
        min_value=1,
        max_value=MOST_MISSED,
        initial=10,
        help_text=_("of the missed runs, when each gets a job"),
    )
    grace = forms.FloatField(
        label=_("Grace"),
        min_value=GRACE[0],
        max_value=GRACE[1],
        initial=60,
        help_text=_("seconds late until a run counts as missed"),
    )
    overlap = forms.ChoiceField(
        label=_("When the previous job still runs"),
        choices=RecurringJob.Overlap.choices,
        initial=RecurringJob.Overlap.ALLOW,
    )
    jitter = forms.FloatField(
        label=_("Jitter"),
        min_value=JITTER[0],
        max_value=JITTER[1],
        initial=0,
        help_text=_("seconds over which starts are spread"),
    )
    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, row: RecurringJob | None = None, using: str, now: datetime, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.row, self.using, self.now = row, using, now
        names = registered_names()
        known = [row.task] if row is not None and row.task not in names else []
        choices = [("", "—"), *((name, name) for name in [*known, *names])]
        self.fields["task"].choices = choices  # type: ignore[attr-defined]
        aliases = [queue.alias for queue in stores() if queue.database == using]
        gone = [row.backend] if row is not None and row.backend not in aliases else []
        self.fields["backend"].choices = [(alias, alias) for alias in [*aliases, *gone]]  # type: ignore[attr-defined]

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        others = RecurringJob._default_manager.using(self.using).filter(name=name)
        if self.row is not None:
            others = others.exclude(pk=self.row.pk)
        if others.exists():
            raise forms.ValidationError(_t("There is a schedule of this name already."))
        return name

    def clean_task(self) -> str:
        name: str = self.cleaned_data["task"]
        if not is_registered(name):
            raise forms.ValidationError(_t("This process knows no task of that name: was it renamed or removed?"))
        return name

    def clean_queue(self) -> str:
        queue: str = self.cleaned_data["queue"].strip()
        try:
            JobPayload(task="-", args="", queue=queue or "default")
        except InvalidPayload as error:
            raise forms.ValidationError(str(error)) from None
        return queue

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        if self.row is not None and data.get("seen") != seen_of(self.row):
            raise forms.ValidationError(_t("Somebody else has changed it meanwhile. Open it again to see how."))
        self._check_call(data)
        if "schedule" in data and self._is_over(data):
            self.add_error("expression", _t("It would never run: nothing comes after now, or not within these dates."))
        return data

    def _check_call(self, data: Mapping[str, Any]) -> None:
        if not {"task", "args", "kwargs"} <= data.keys():
            return
        try:
            lookup(data["task"]).bind(data["args"], data["kwargs"])
            encode_call(data["args"], data["kwargs"], conf().MAX_PAYLOAD_BYTES)
        except SignatureMismatch as error:
            self.add_error("args", _t("The task can't be called like this: %(error)s") % {"error": error})
        except PayloadError as error:
            self.add_error("kwargs" if error.path.startswith("kwargs") else "args", str(error))

    def _is_over(self, data: Mapping[str, Any]) -> bool:
        """A schedule without any run to come is a mistake, unless it was so before and something else is changed."""
        schedule = data["schedule"]
        if schedule.kind == RecurringJob.Kind.MANUAL or (self.row is not None and not _WHEN & {*self.changed_data}):
            return False
        start, end = (data.get(name) and aware(data[name]) for name in ("starts_at", "ends_at"))
        tick = schedule.next_after(max(self.now, start - datetime.resolution) if start else self.now)
        return tick is None or bool(end and tick > end)

    def row_fields(self) -> dict[str, Any]:
        """The columns of a valid form. Raises `InvalidSchedule` for what only the whole can tell."""
        data = dict(self.cleaned_data)
        data["args"] = encode_call(data["args"], data.pop("kwargs"), conf().MAX_PAYLOAD_BYTES)
        values: dict[str, Any] = {name: data[name] for name in _COLUMNS}
        times: dict[str, Any] = {name: data[name] and aware(data[name]) for name in ("starts_at", "ends_at")}
        return {**Declared(**values, **times).fields(), "enabled": data["enabled"]}


def seen_of(row: RecurringJob) -> str:
    """What the page showed, to know an edit by somebody else in between."""
    return str(row.changed_at or "")


def zones() -> list[str]:
    """The names people choose from: places, and UTC."""
    return sorted(name for name in available_timezones() if name == "UTC" or "/" in name.removeprefix("Etc/"))
