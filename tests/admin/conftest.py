from __future__ import annotations

import re
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from django_jobqueue.admin import schedule_runs
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.queues import get_queue
from django_jobqueue.scheduling import breaker
from tests.lifecycle.letters import ADD


@pytest.fixture(autouse=True)
def nothing_is_known_of_stores(monkeypatch):
    """That one was silent in the test before must not matter."""
    monkeypatch.setattr(schedule_runs, "_silence", breaker.Silence())


@pytest.fixture
def queue():
    return get_queue()


@pytest.fixture
def boss(db):
    return User.objects.create_superuser("boss", password="secret")


@pytest.fixture
def as_boss(boss):
    client = Client()
    client.force_login(boss)
    return client


def staff_with(*codenames: str) -> Client:
    """A client of a member of staff who has these permissions."""
    user = User.objects.create_user(f"staff{User.objects.count()}", is_staff=True)
    permissions = Permission.objects.filter(codename__in=codenames)
    assert len(permissions) == len(codenames)
    user.user_permissions.set(permissions)
    client = Client()
    client.force_login(user)
    return client


def url(model: str, page: str = "changelist", *args: object) -> str:
    return reverse(f"admin:django_jobqueue_{model}_{page}", args=args)


def push(queue, /, **fields) -> UUID:
    return queue.push(JobPayload(**{"task": ADD, "args": '{"args":[1,2],"kwargs":{}}', **fields}))[0]


def messages_of(response) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def inline_code(html: str) -> list[str]:
    """What a `default-src 'self'` policy would block: style attributes and elements, handlers, script bodies."""
    found = re.findall(r"<[a-z][^>]*\s(?:style|on[a-z]+)\s*=[^>]*>", html)
    found += re.findall(r"<style\b", html)
    return found + [body for body in re.findall(r"<script\b[^>]*>(.*?)</script>", html, re.S) if body.strip()]
