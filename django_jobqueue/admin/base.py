"""What every page of ours has in common: read only, never counting, its operations as actions and as buttons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from django_jobqueue.admin import widgets
from django_jobqueue.admin.changelist import JobChangeList
from django_jobqueue.admin.operations import Operation, perform_on_many, perform_on_one
from django_jobqueue.admin.pages import Button, Page
from django_jobqueue.admin.paginator import CappedPaginator
from django_jobqueue.admin.seen import posted
from django_jobqueue.admin.stores import database_of, names_of_stores, store_label

if TYPE_CHECKING:
    _Base = admin.ModelAdmin[Any]
else:
    _Base = admin.ModelAdmin


class JobQueueAdmin(_Base):
    """Rows are looked at, and moved by operations; nothing is added, edited or deleted."""

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 50
    sortable_by = ()
    list_select_related = False
    operations: ClassVar[tuple[Operation, ...]] = ()
    narrow: ClassVar[Sequence[str]] = ()
    """Wide columns that the list does not show, and so does not read."""
    job_id_field = "id"
    age: str = ""
    """The column that tells how old a row is, and has an index, where the table grows for ever: see `reach.py`."""
    served: ClassVar[Sequence[tuple[str, ...]]] = ()
    """Columns that find rows by an index, latest first: filters by all of one group need no end."""
    has_store = False
    """Whether the rows say in which store their job lived."""

    class Media:
        css = {"all": ["django_jobqueue/admin.css"]}
        js = ["django_jobqueue/confirm.js"]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    # -- the list ----------------------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).using(database_of(self.model))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[JobChangeList]:
        return JobChangeList

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        columns = list(super().get_list_display(request))
        if self.has_store and len(names_of_stores(database_of(self.model))) > 1:
            columns.insert(3, "store_name")
        return columns

    @admin.display(description=_lazy("store"))
    def store_name(self, obj: Any) -> SafeString:
        return format_html('<span class="jq-nowrap">{}</span>', widgets.cut(store_label(obj.store), 40))

    def columns_of_list(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.defer(*self.narrow)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """With the name of what is listed for a title, instead of an order to select something."""
        title = capfirst(str(self.opts.verbose_name_plural))
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def complete_rows(self, rows: list[Any]) -> None:
        """Fetch what the list shows besides the rows themselves, once for the whole page."""

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> Any:
        """An id finds its job by index; anything else is looked for in the search fields."""
        try:
            return queryset.filter(**{self.job_id_field: UUID(search_term.strip())}), False
        except ValueError:
            return super().get_search_results(request, queryset, search_term)

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any) -> Any:
        """What is no key of a row was not ticked on a page of ours, and none of them can be looked up by it."""
        try:
            for key in request.POST.getlist(ACTION_CHECKBOX_NAME):
                self.opts.pk.clean(key, None)
        except ValidationError:
            messages.error(request, _("One of the selected keys is none. Nothing was done."))
            return HttpResponseRedirect(request.get_full_path())
        return super().response_action(request, queryset, *args, **kwargs)

    def act_on_many(self, request: HttpRequest, operation: Operation, rows: QuerySet[Any]) -> None:
        if not operation.is_allowed(request):
            raise PermissionDenied
        perform_on_many(request, operation, rows, posted(request), self.narrow)

    # -- one row -----------------------------------------------------------------------------------------------------

    def page(self, request: HttpRequest, obj: Any) -> Page:
        """What the detail page of this row shows."""
        raise NotImplementedError

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        obj = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, obj):
            raise PermissionDenied
        if obj is None:
            return self.moved_on(request, object_id)
        page = self.page(request, obj)
        page.buttons[:0] = [self._button(request, operation, obj) for operation in self._allowed(request)]
        page.buttons.sort(key=lambda button: button.tone == "danger")  # what can't be undone stands last
        context = {**self.page_context(request, obj), "page": page, **(extra_context or {})}
        return TemplateResponse(request, "admin/django_jobqueue/detail.html", context)

    def page_context(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        """What the admin's own change form template asks for."""
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": obj,
            "title": str(obj),
            "change": True,
            "is_popup": False,
            "media": self.media,
            "has_view_permission": self.has_view_permission(request, obj),
            "has_change_permission": False,
            "history_url": self._url(request, "history", obj.pk),
        }

    def moved_on(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The row was there when the page was made."""
        messages.warning(request, _("It is not here any more: it ran, or somebody else was faster."))
        return HttpResponseRedirect(self.list_url(request))

    def list_url(self, request: HttpRequest) -> str:
        """The list with the filters it had. The admin's index for whom may act on rows but not list them."""
        if not self.has_view_permission(request):
            return reverse("admin:index", current_app=self.admin_site.name)
        return self._url(request, "changelist")

    def _url(self, request: HttpRequest, page: str, *args: Any) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}"
        filters: dict[str, Any] = {"preserved_filters": self.get_preserved_filters(request), "opts": self.opts}
        return add_preserved_filters(filters, reverse(name, args=args, current_app=self.admin_site.name))

    # -- operations --------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        return [
            path(
                f"<path:object_id>/{operation.name}/",
                self.admin_site.admin_view(self.act_on_one),
                {"name": operation.name},
                name=f"{self.opts.app_label}_{self.opts.model_name}_{operation.name}",
            )
            for operation in self.operations
        ] + super().get_urls()

    def act_on_one(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """A button of the detail page."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        operation = next(one for one in self.operations if one.name == name)
        if not operation.is_allowed(request):
            raise PermissionDenied
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            return self.moved_on(request, object_id)
        perform_on_one(request, operation, obj, posted(request))
        return HttpResponseRedirect(self.list_url(request))

    def _allowed(self, request: HttpRequest) -> list[Operation]:
        return [operation for operation in self.operations if operation.is_allowed(request)]

    def _button(self, request: HttpRequest, operation: Operation, obj: Any) -> Button:
        url = self._url(request, operation.name, obj.pk)
        return Button(url, operation.label, operation.tone, operation.confirm)
