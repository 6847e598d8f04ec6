"""The tasks this process knows, by name. A stored name is looked up here and never imported."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django_jobqueue.exceptions import SignatureMismatch, UnknownTask
from django_jobqueue.jobs.retry import RetryStrategy

MAX_NAME_LENGTH = 255
_MAX_SHAPES = 64


@dataclass(frozen=True)
class TaskDefinition:
    """A task as the worker needs it: what to call, and how.

    `task` is the object of the task API whose results are handed to signals; `retry` is None when the task follows
    the project's default. `atomic`: its work and its completion are one transaction.
    """

    name: str
    func: Callable[..., Any]
    task: Any
    takes_context: bool = False
    retry: RetryStrategy | None = None
    timeout: float | None = None
    atomic: bool = False

    @cached_property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.func)

    @cached_property
    def _shapes(self) -> set[tuple[int | str, ...]]:
        """Calls known to fit, as (number of positional arguments, names): binding costs more than the rest of a job."""
        return set()

    @cached_property
    def _signature(self) -> inspect.Signature:
        # Not what it wraps: a decorator may pass other arguments on than it takes.
        return inspect.signature(self.func, follow_wrapped=False)

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise `SignatureMismatch` when the function can't be called this way. It is not called."""
        shape: tuple[int | str, ...] = (len(args), *kwargs)
        if shape in self._shapes:
            return
        leading = (None,) if self.takes_context else ()
        try:
            self._signature.bind(*leading, *args, **kwargs)
        except TypeError as error:
            names = ", ".join(self._signature.parameters)  # no defaults: who knows what printing one would do
            raise SignatureMismatch(f"{self.name}({names}): {error}") from None
        if len(self._shapes) < _MAX_SHAPES:
            self._shapes.add(shape)


_definitions: dict[str, TaskDefinition] = {}


def register(definition: TaskDefinition) -> None:
    """Make a task known under its name. A name that is known already gets this meaning."""
    _definitions[definition.name] = definition


def lookup(name: str) -> TaskDefinition:
    """The task of that name, or `UnknownTask` saying what to do about it."""
    try:
        return _definitions[name]
    except KeyError:
        raise UnknownTask(
            f"no task is registered as {name[:MAX_NAME_LENGTH]!r} in this process: was it renamed or removed, or is "
            f"its module not one that is loaded at start (tasks.py or jobs.py of an installed app)?"
        ) from None


def is_registered(name: str) -> bool:
    return name in _definitions


def registered_names() -> list[str]:
    """The names of all tasks known here, sorted."""
    return sorted(_definitions)
