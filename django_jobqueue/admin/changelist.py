"""A list page over a table that may be huge, and may hold rows nobody can read."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import ngettext

from django_jobqueue.admin.paginator import RoughCount
from django_jobqueue.admin.reach import edge_of, words_for
from django_jobqueue.admin.robust import readable


class JobChangeList(ChangeList):
    """Reads only the columns the list shows, steps over unreadable rows, and lets the admin add what else rows need."""

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        if any("\x00" in str(value) for name, value in self.params.items() if name != SEARCH_VAR):
            raise IncorrectLookupParameters("no column holds a NUL")  # PostgreSQL would not even look for one
        rows: QuerySet[Any] = super().get_queryset(request, *args, **kwargs)
        self.edge = edge_of(self, request)
        if self.edge is not None:
            rows = rows.filter(**{f"{self.model_admin.age}__gte": self.edge})  # type: ignore[attr-defined]
        return self.model_admin.columns_of_list(rows)  # type: ignore[attr-defined, no-any-return]

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows, bad = readable(self.result_list, self.list_per_page)
        self.result_list = rows
        if bad:
            words = ngettext(
                "%(count)d row of this page can't be read and is left out.",
                "%(count)d rows of this page can't be read and are left out.",
                bad,
            )
            messages.warning(request, words % {"count": bad})
        if self.edge is not None and request.method == "GET" and not isinstance(self.result_count, RoughCount):
            messages.info(request, words_for(self, self.edge))
        self.model_admin.complete_rows(rows)  # type: ignore[attr-defined]
