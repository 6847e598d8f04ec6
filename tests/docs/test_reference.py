"""The reference lists what there is, and nothing else: each page is compared with the code it describes."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
from collections.abc import Iterable
from dataclasses import fields
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import BaseCommand, load_command_class
from django.db import models
from django.dispatch import Signal

import django_jobqueue
from django_jobqueue import conf, decorators, exceptions, failpoints, signals, testing
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.lifecycle import cleanup, dead_letters, policy
from django_jobqueue.queues.base import DEFAULT_LEASE, Queue
from tests import test_architecture as architecture
from tests.docs.test_snippets import FENCE, PAGES, ROOT, blocks, page_id

DOCS = ROOT / "docs"
PACKAGE = ROOT / "django_jobqueue"
SETTINGS = "reference/settings.md"
COMMANDS = sorted(path.stem for path in (PACKAGE / "management" / "commands").glob("[!_]*.py"))
LOGGERS = {name for path in PACKAGE.rglob("*.py") for name in re.findall(r'getLogger\("(.+?)"\)', path.read_text())}
MODELS = list(apps.get_app_config("django_jobqueue").get_models())


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def prose(page: str) -> str:
    return FENCE.sub("", page)


def section(page: str, heading: str) -> str:
    """What stands under a heading, up to the next one of its level or above."""
    match = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#{{1,2}} |\Z)", page, re.MULTILINE | re.DOTALL)
    assert match, f"no section {heading!r}"
    return prose(match[2])


def headings(page: str, level: int) -> list[str]:
    return re.findall(rf"^{'#' * level} (.+)$", prose(page), re.MULTILINE)


def rows(text: str) -> list[list[str]]:
    """The cells of every table row but heads and rulers."""
    lines = [line.strip().strip("|").split(" | ") for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in lines]
    heads = {n - 1 for n, line in enumerate(cells) if set("".join(line)) <= set("-| ")}
    return [line for n, line in enumerate(cells) if n not in heads and n - 1 not in heads]


def code(text: str) -> list[str]:
    """What stands in backticks; lines may break in it."""
    return re.findall(r"`([^`]+)`", " ".join(text.split()))


def first_words(table: Iterable[list[str]]) -> set[str]:
    """The words in backticks of each row's first cell, without what follows a name (`--queue NAME`, `f(x)`)."""
    return {re.split(r"[ (]", word)[0] for row in table for word in code(row[0])}


# settings, commands, tables, checks


def test_every_setting_is_listed_with_its_default():
    of_all, _, of_queues = section(read(SETTINGS), "JOBQUEUE").partition("### QUEUES")
    plain = conf.Conf()
    assert defaults(of_all) == {field.name: getattr(plain, field.name) for field in fields(conf.Conf)}
    listed = [code(row[0])[0].strip('"') for row in rows(of_queues)]
    assert sorted(listed) == sorted([*conf.QUEUE_OPTIONS, *conf.PROFILES])


def test_the_profiles_are_listed_as_they_are():
    _, _, of_queues = section(read(SETTINGS), "JOBQUEUE").partition("### QUEUES")
    for name, _, timeout, attempts, prefetch, concurrency, memory in (row for row in rows(of_queues) if len(row) == 7):
        found = policy._PROFILES[code(name)[0].strip('"')]
        assert (f"{found.timeout:,}", f"{found.concurrency}", f"{found.memory_mb:,}") == (timeout, concurrency, memory)
        assert prefetch == str(found.prefetch or "by time")
        assert attempts.startswith(f"{found.retry.max_attempts}, ")


def test_every_backend_option_is_listed():
    common, of_redis = section(read(SETTINGS), "OPTIONS").split("### More OPTIONS of RedisBackend")
    assert defaults(common) == {"database": "default", "lease": DEFAULT_LEASE}
    assert defaults(common).keys() == conf.BACKEND_OPTIONS
    assert defaults(of_redis) == {
        "connection": conf.DEFAULT_CONNECTION,
        "url": None,
        "connection_factory": None,
        "record": conf.RECORD[0],
        "on_commit": conf.ON_COMMIT[0],
        "prefix": conf.DEFAULT_PREFIX,
    }
    assert defaults(of_redis).keys() == conf.REDIS_OPTIONS - conf.BACKEND_OPTIONS


def test_every_word_of_an_option_is_listed():
    text = section(read(SETTINGS), "OPTIONS")
    for option, words in (("record", conf.RECORD), ("on_commit", conf.ON_COMMIT)):
        [meaning] = [row[2] for row in rows(text) if row[0] == f"`{option}`"]
        assert {word.strip('"') for word in code(meaning) if word.startswith('"')} == set(words)


def defaults(text: str) -> dict[str, object]:
    return {code(row[0])[0]: ast.literal_eval(code(row[1])[0]) for row in rows(text)}


def test_every_command_is_listed():
    assert sorted(headings(read("reference/commands.md"), 2)) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_listed(name):
    options = own_options(load_command_class("django_jobqueue", name))
    assert first_words(rows(section(read("reference/commands.md"), name))) == options


def own_options(command: BaseCommand) -> set[str]:
    """Its option strings, and its positional arguments by the name that is shown; not those of every command."""
    common = BaseCommand().create_parser("manage.py", "any")
    known = {text for action in common._actions for text in action.option_strings}
    actions = command.create_parser("manage.py", "any")._actions
    names = {name for action in actions for name in action.option_strings or [shown(action)]}
    return names - known


def shown(action: argparse.Action) -> str:
    return str(action.metavar or action.dest)


def test_every_table_is_listed():
    listed = headings(read("reference/tables.md"), 2)
    assert len(listed) == 13
    assert set(listed) == {model._meta.db_table for model in MODELS}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_table_is_listed_as_it_is(model: type[models.Model]):
    text = section(read("reference/tables.md"), model._meta.db_table)
    assert f"Model `{model.__name__}`" in text
    assert [code(row[0])[0] for row in rows(text)] == [field.column for field in model._meta.concrete_fields]
    named = {*(index.name for index in model._meta.indexes), *(one.name for one in model._meta.constraints)}
    assert {word for word in code(text) if word.startswith("jobqueue_") and not is_table(word)} == named
    assert {name for name, _ in model._meta.permissions} <= set(code(text))


def is_table(name: str) -> bool:
    return name in {model._meta.db_table for model in MODELS}


@pytest.mark.parametrize(
    ("model", "column"), [("DelayedJob", "reason"), ("DeadLetterJob", "reason"), ("JobHistory", "outcome")]
)
def test_every_word_of_a_column_is_listed(model, column):
    field = apps.get_model("django_jobqueue", model)._meta.get_field(column)
    text = section(read("reference/tables.md"), field.model._meta.db_table)
    [meaning] = [row[1] for row in rows(text) if row[0] == f"`{column}`"]
    assert set(code(meaning)) == {value for value, _ in field.choices}


def test_every_check_is_listed():
    used = {found for path in PACKAGE.rglob("*.py") for found in re.findall(r"jobqueue\.[EWI]\d{3}", path.read_text())}
    assert first_words(rows(read("reference/checks.md"))) == used


# the API


def test_every_public_name_is_listed():
    listed = re.findall(r"^### (\w+)$", section(read("reference/api.md"), "django_jobqueue"), re.MULTILINE)
    assert sorted(listed) == django_jobqueue.__all__


def test_every_verb_of_a_store_is_listed():
    text = section(read("reference/api.md"), "The store")
    verbs = {name for name, _ in inspect.getmembers(Queue, inspect.isfunction) if not name.startswith("_")}
    listed = {word.split("(")[0] for word in code(text) if "(" in word} - {"get_queue"}
    assert listed == verbs
    assert set(Queue.__annotations__) <= set(code(text))


@pytest.mark.parametrize(("heading", "module"), [("Dead letters", dead_letters), ("Cleanup", cleanup)])
def test_listed_functions_take_what_is_shown(heading, module):
    calls = [word for word in code(section(read("reference/api.md"), heading)) if "(" in word]
    assert calls
    for call in calls:
        assert_takes(getattr(module, call.split("(")[0]), call)


def test_run_all_and_the_payload_take_what_is_shown():
    words = code(prose(read("reference/api.md")))
    [call] = [word for word in words if "run_all(" in word]
    assert_takes(testing.run_all, call)
    for word in words:
        if word.startswith("JobPayload."):
            assert_takes(getattr(JobPayload, word.removeprefix("JobPayload.").split("(")[0]), word)
    assert {field.name for field in fields(JobPayload)} in [set(word.split()) for word in words]


def assert_takes(function: object, call: str) -> None:
    """Every name in `f(a, *, b=1)` is a parameter of it, or it takes any keywords."""
    inside = call[call.index("(") + 1 : call.rindex(")")]
    words = [word.split("=")[0].strip() for word in inside.split(",")]
    wanted = {word for word in words if word.isidentifier()}
    assert wanted <= set(inspect.signature(function).parameters), call  # type: ignore[arg-type]


def test_what_task_takes_is_listed():
    parameters = inspect.signature(decorators.task).parameters.values()
    keywords = {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}
    table = rows(section(read("reference/api.md"), "django_jobqueue").split("### Job\n")[0])
    assert {code(row[0])[0]: ast.literal_eval(code(row[1])[0]) for row in table} == keywords
    [using] = [word for word in code(prose(read("reference/api.md"))) if word.startswith("using(priority")]
    assert using[len("using(") : -1].split(", ") == [*inspect.signature(decorators.JobTask.using).parameters][1:]


def test_every_signal_is_listed():
    there = {name for name, value in vars(signals).items() if isinstance(value, Signal)}
    assert first_words(rows(section(read("reference/api.md"), "Signals"))) == there


def test_every_exception_is_listed_with_its_base():
    table = rows(section(read("reference/api.md"), "Exceptions"))
    there = {
        name
        for name, value in vars(exceptions).items()
        if isinstance(value, type) and value.__module__ == exceptions.__name__
    }
    assert first_words(table) == there
    for row in table:
        for name in code(row[0]):
            [base] = code(row[1])
            assert base in {kind.__name__ for kind in getattr(exceptions, name).__mro__[1:]}, name


# explanation


def test_every_crash_point_is_explained():
    listed = {word for row in rows(read("explanation/life-of-a-job.md")) for word in code(row[1]) if "." in word}
    assert listed == set(failpoints.POINTS)


def test_the_layers_are_those_that_are_checked():
    table = rows(section(read("explanation/architecture.md"), "Layers"))
    listed = [(row[0], set(code(row[1]))) for row in table]
    there = [(name, {one for one in members if exists(one)}) for name, members, _ in reversed(architecture.LAYERS)]
    assert listed == [(name, members) for name, members in there if members]


def exists(module: str) -> bool:
    return (PACKAGE / f"{module}.py").exists() or any((PACKAGE / module).glob("**/*.py"))


# every page


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_links_lead_somewhere(path: Path):
    page = prose(path.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", page):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        other = (path.parent / name).resolve() if name else path
        assert other.exists(), target
        if anchor and other.suffix == ".md":
            assert anchor in anchors(other.read_text(encoding="utf-8")), target


def anchors(page: str) -> set[str]:
    """As GitHub makes them of headings."""
    found = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_names_and_files_exist(path: Path):
    page = path.read_text(encoding="utf-8")
    missing = [word for word in code(prose(page)) if is_ours(word) and not is_there(word)]
    assert missing == []


def is_ours(word: str) -> bool:
    return bool(re.fullmatch(r"django_jobqueue(\.\w+)+(\(.*\))?|[\w/]+/\w+\.py|\w+/\w+/", word))


def is_there(word: str) -> bool:
    if "/" in word:
        return any((root / word).exists() for root in (PACKAGE, ROOT)) or word.startswith(("mysite/", "sums/", "shop/"))
    name = word.split("(")[0]
    return name in LOGGERS or has_permission(name) or is_importable(name)


def is_importable(name: str) -> bool:
    parent, _, last = name.rpartition(".")
    if find_spec_safely(name):
        return True
    return hasattr(import_module(parent), last)


def find_spec_safely(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def has_permission(name: str) -> bool:
    words = {f"{verb}_{model._meta.model_name}" for model in MODELS for verb in ("view", "change", "add", "delete")}
    own = {permission for model in MODELS for permission, _ in model._meta.permissions}
    return name.removeprefix("django_jobqueue.") in words | own


def test_every_page_is_in_the_index():
    linked = {(DOCS / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)", read("index.md"))}
    pages = {path for path in DOCS.rglob("*.md") if path.name != "index.md"}
    assert {path for path in pages if path.resolve() not in linked} == set()


def test_the_words_of_the_glossary_are_used():
    others = " ".join(" ".join(path.read_text().split()) for path in DOCS.rglob("*.md") if path.name != "glossary.md")
    words = re.findall(r"^\| \*\*(.+?)\*\* \|", read("glossary.md"), re.MULTILINE)
    assert words == sorted(words, key=str.lower)
    assert [word for word in words if word.lower() not in others.lower()] == []


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_only_marked_blocks_are_left_out(path: Path):
    """A block right below a comment that ends in `-->` would count as marked when any mark stands above it."""
    page = path.read_text(encoding="utf-8")
    left_out = [block.line for block in blocks(page, "python", "py") if not block.is_run]
    assert len(left_out) == page.count("<!-- not run: ")
