"""`queue_import_schedules`: says what would be made, makes it when told to, and never changes what is there."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from django_jobqueue.models import RecurringJob
from django_jobqueue.scheduling import edits
from tests.stores import ONE_STORE

pytestmark = pytest.mark.django_db

TEXT = """
*/5 * * * * python manage.py clearsessions
0 8 * * 1-5 python manage.py add 1 2
0 9 * * * python manage.py report
"""


def on(alias):
    return pytest.param(alias, marks=pytest.mark.django_db(databases=["default", alias]))


MAP = ("--map", "clearsessions=tests.testapp.tasks.noop", "--map", "add=tests.testapp.tasks.add")


@pytest.fixture(autouse=True)
def one_store(settings):
    settings.TASKS = ONE_STORE


@pytest.fixture
def tab(tmp_path):
    file = tmp_path / "crontab"
    file.write_text(TEXT)
    return file


def run(*words):
    out = StringIO()
    call_command("queue_import_schedules", *map(str, words), stdout=out)
    return out.getvalue()


def run_tab(tab, *words):
    return run("--from", "crontab", "--file", tab, *MAP, *words)


def rows():
    return {row.name: row for row in RecurringJob.objects.all()}


def test_it_only_says_what_it_would_do(tab):
    said = run_tab(tab)
    assert "becomes tests.testapp.tasks.noop()" in said
    assert "becomes tests.testapp.tasks.add('1', '2')" in said
    assert "next run" in said
    assert "left out: say which task does what `manage.py report` does: --map report=TASK" in said
    assert said.endswith("2 would be made, 0 there already, 1 left out. Nothing was written: add --apply.\n")
    assert rows() == {}


def test_applied_they_are_there_and_due(tab):
    assert run_tab(tab, "--apply").endswith("2 made, 0 there already, 1 left out.\n")
    row = rows()["add 1 2"]
    assert (row.task, row.args) == ("tests.testapp.tasks.add", '{"args":["1","2"],"kwargs":{}}')
    assert (row.kind, row.expression, row.timezone) == ("cron", "0 8 * * 1-5", "UTC")
    assert (row.source, row.enabled, row.backend) == ("admin", True, "default")
    assert row.due_at == row.next_run_at > timezone.now()


def test_a_second_time_changes_nothing(tab):
    run_tab(tab, "--apply")
    before = list(RecurringJob.objects.order_by("pk").values())
    said = run_tab(tab, "--apply")
    assert said.endswith("0 made, 2 there already, 1 left out.\n")
    assert "is there already" in said
    assert list(RecurringJob.objects.order_by("pk").values()) == before


def test_what_an_operator_has_changed_stays(tab):
    run_tab(tab, "--apply")
    row = rows()["clearsessions"]
    edits.pause("default", row.pk)
    edits.changed("default", rows()["add 1 2"].pk, expression="0 7 * * *")
    said = run_tab(tab, "--apply", "--map", "clearsessions=tests.testapp.tasks.noop")
    assert "would be tests.testapp.tasks.add" in said
    assert "it is left as it is" in said
    assert not rows()["clearsessions"].enabled
    assert rows()["add 1 2"].expression == "0 7 * * *"


def test_paused_nothing_runs_until_resumed(tab):
    run_tab(tab, "--apply", "--paused")
    for row in rows().values():
        assert (row.enabled, row.due_at) == (False, None)
    edits.resume("default", *(row.pk for row in rows().values()))
    assert all(row.due_at for row in rows().values())


def test_any_command_can_go_to_one_task(tab):
    said = run_tab(tab, "--map", "manage.py=tests.testapp.tasks.noop")
    assert "becomes tests.testapp.tasks.noop('report')" in said


def test_a_name_that_appears_meanwhile_is_left(tab, monkeypatch):
    from django_jobqueue.management.commands import queue_import_schedules as command

    write = command.write

    def slowly(landings, terms):
        RecurringJob.objects.create(name="clearsessions", task="mine", kind="manual")
        return write(landings, terms)

    monkeypatch.setattr(command, "write", slowly)
    said = run_tab(tab, "--apply")
    assert "left out: a schedule of this name has appeared meanwhile" in said
    assert said.endswith("1 made, 0 there already, 2 left out.\n")
    assert rows()["clearsessions"].task == "mine"


@pytest.mark.parametrize("database", ["default", on("postgres"), on("mariadb")])
def test_what_no_database_stores_is_left_out_and_the_others_are_made(settings, tmp_path, database):
    settings.TASKS = {"default": {**ONE_STORE["default"], "OPTIONS": {"database": database}}}
    file = tmp_path / "crontab"
    lines = [f"0 8 * * * python manage.py add {number} 2" for number in range(600)]
    file.write_text("\n".join([*lines[:7], "0 8 * * * python manage.py add 1 '2\x00'", *lines[7:]]))
    said = run_tab(file, "--apply")
    assert said.endswith("600 made, 0 there already, 1 left out.\n")
    assert "left out: no database stores" in said or "left out: args[1]: NUL" in said
    assert RecurringJob.objects.using(database).count() == 600


def test_what_this_database_refuses_is_left_out_and_the_others_are_made(tab):
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER picky BEFORE INSERT ON jobqueue_recurring_jobs WHEN NEW.name = 'clearsessions' "
            "BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        )
    said = run_tab(tab, "--apply")
    assert "clearsessions\n    left out: the database does not take it: not this one" in said
    assert said.endswith("1 made, 0 there already, 2 left out.\n")
    assert [*rows()] == ["add 1 2"]


def test_json(tab):
    answer = json.loads(run_tab(tab, "--json"))
    assert answer["written"] == 0
    assert [one["verdict"] for one in answer["schedules"]] == ["new", "new", "refused"]
    assert answer["schedules"][0]["next_run"]


def test_lines_of_a_pipe(monkeypatch):
    monkeypatch.setattr("sys.stdin", StringIO(TEXT))
    assert "2 would be made" in run("--from", "crontab", *MAP)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("0 8 * * * python manage.py add 1 2 3", "too many positional arguments"),
        ("0 8 * * * python manage.py ad 1 2", "perhaps tests.testapp.tasks.add"),
        ("0 8 30 2 * python manage.py add 1 2", "0 8 30 2 *"),
        ("0 8 * * * python manage.py add 1 2\n0 8 * * * python manage.py add 1 2\n" * 2, "same name"),
    ],
)
def test_why_not(tmp_path, line, why):
    file = tmp_path / "crontab"
    file.write_text(line)
    assert why in run_tab(file)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--from", "celery-beat"], "There is no table"),
        (["--from", "django-q2"], "There is no table"),
        (["--from", "django-q2", "--database", "nowhere"], "DATABASES has no 'nowhere'"),
        (["--from", "rq-scheduler"], "--url"),
        (["--from", "crontab", "--file", "/nowhere/crontab"], "--file"),
        (["--from", "crontab", "--timezone", "Berlin"], "no time zone 'Berlin'"),
        (["--from", "crontab", "--map", "old"], "OLD=NEW"),
        (["--from", "cron"], "invalid choice"),
        (["--from", "crontab", "--backend", "nowhere"], "nowhere"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_wrong_options_are_told(words, why):
    with pytest.raises(CommandError, match=why):
        run(*words)


def test_a_terminal_is_not_moved_by_what_was_stored(tmp_path):
    file = tmp_path / "crontab"
    file.write_text("0 8 * * * python manage.py 'add\x1b[2J' 1\n")
    assert "\x1b" not in run_tab(file)


@pytest.mark.django_db(databases=["default", "mariadb"])
def test_on_mariadb_capitals_make_no_other_name(settings, tmp_path):
    settings.TASKS = {"default": {**ONE_STORE["default"], "OPTIONS": {"database": "mariadb"}}}
    file = tmp_path / "crontab"
    file.write_text("0 8 * * * python manage.py Add 1 2\n0 9 * * * python manage.py add 1 2\n")
    said = run_tab(file, "--apply", "--map", "Add=tests.testapp.tasks.add")
    assert said.endswith("1 made, 0 there already, 1 left out.\n")
    assert run_tab(file, "--apply", "--map", "Add=tests.testapp.tasks.add").endswith(
        "0 made, 1 there already, 1 left out.\n"
    )
    assert RecurringJob.objects.using("mariadb").get().name == "Add 1 2"
