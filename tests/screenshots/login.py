"""Whoever comes is the operator, and an address may stand for a form that was sent. For pictures only."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth import login
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse


def log_in(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        if request.path.startswith("/admin/") and not request.user.is_authenticated:
            operator = User.objects.get(username="operator")
            login(request, operator, backend="django.contrib.auth.backends.ModelBackend")
        if "_sent" in request.GET:
            request.method, request.POST = "POST", request.GET.copy()  # type: ignore[misc]
            request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]
        return get_response(request)

    return middleware
