"""`manage.py check` says in a sentence what would lose jobs later."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from django.core.checks import ERROR, WARNING, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from django_jobqueue import compat, get_queue
from django_jobqueue.checks import check_settings
from django_jobqueue.compat import HAS_CORE_TASKS
from django_jobqueue.jobs.payload import MAX_KEY_LENGTH
from django_jobqueue.models import Job

OURS = "django_jobqueue.backends.DatabaseBackend"
DUMMY = f"{'django.tasks' if HAS_CORE_TASKS else 'django_tasks'}.backends.dummy.DummyBackend"


def found(prefix="jobqueue."):
    messages = run_checks(databases=["default"])  # the fields' own checks ask MariaDB for its version
    return {(message.id, message.level, message.msg) for message in messages if str(message.id).startswith(prefix)}


def ids():
    return {message_id for message_id, _, _ in found()}


def tasks_with(**options):
    return {"default": {"BACKEND": OURS, "QUEUES": [], "OPTIONS": options}}


def test_the_test_project_has_no_problem():
    assert found() == set()


@pytest.mark.django_db(databases=["mariadb"])
def test_the_models_suit_mysql():
    """models.W043 would be an index that Django does not make there: the line was without its own."""
    assert {message.id for message in run_checks(databases=["mariadb"])} == set()


class TestSettings:
    def test_e001_a_wrong_key_or_value(self, settings):
        settings.JOBQUEUE = {"CRASH_BUGDET": 3, "POLL_INTERVAL": 0}
        assert found() == {
            ("jobqueue.E001", ERROR, "JOBQUEUE has no key 'CRASH_BUGDET'. Did you mean 'CRASH_BUDGET'?"),
            ("jobqueue.E001", ERROR, "JOBQUEUE['POLL_INTERVAL'] must be greater than zero, and finite, not 0."),
        }

    @pytest.mark.parametrize("wrong", ["text", [], 0, ()])
    def test_e001_no_dictionary(self, settings, wrong):
        settings.JOBQUEUE = wrong
        assert ids() == {"jobqueue.E001"}

    def test_none_is_the_same_as_not_there(self, settings):
        settings.JOBQUEUE = None
        assert found() == set()

    @pytest.mark.parametrize(
        ("queue", "is_told"),
        [
            ({"concurrency": 4, "timeout": 10}, True),
            ({"profile": "api"}, True),
            ({"concurrency": 4}, False),
            ({"timeout": 10}, False),
            ({"concurrency": 1, "timeout": 10}, False),
        ],
    )
    def test_i001_timeouts_are_soft_in_threads(self, settings, queue, is_told):
        settings.JOBQUEUE = {"QUEUES": {"emails": queue}}
        assert ids() == ({"jobqueue.I001"} if is_told else set())

    def test_check_fails_with_it(self, settings):
        settings.JOBQUEUE = {"NOTIFY": "yes"}
        with pytest.raises(SystemCheckError, match=r"jobqueue\.E001.*must be True or False, not 'yes'"):
            call_command("check", stdout=io.StringIO())

    def test_e002_the_backport_is_not_installed(self, monkeypatch):
        monkeypatch.setattr("django_jobqueue.checks.TASK_FRAMEWORK_APP", "django_tasks_of_another_planet")
        (message,) = check_settings()
        assert (message.id, message.level) == ("jobqueue.E002", ERROR)
        assert "Add 'django_tasks_of_another_planet' to INSTALLED_APPS" in message.hint

    def test_e002_is_not_for_a_django_that_has_tasks(self):
        assert (None if HAS_CORE_TASKS else "django_tasks") == compat.TASK_FRAMEWORK_APP


class TestBackends:
    @pytest.mark.parametrize(
        "tasks",
        [
            {"default": {"BACKEND": DUMMY}},
            {"default": {"BACKEND": DUMMY}, "other": {"BACKEND": DUMMY}},
            {},
        ],
    )
    def test_w001_none_of_ours(self, settings, tasks):
        settings.TASKS = tasks
        ((message_id, level, text),) = found()
        assert (message_id, level) == ("jobqueue.W001", WARNING)
        assert "none of its backends is in TASKS" in text

    @pytest.mark.parametrize("ours", [OURS, "tests.api.backends.OwnBackend"])
    def test_one_of_ours_anywhere_will_do_and_so_will_a_subclass(self, settings, ours):
        settings.TASKS = {"default": {"BACKEND": DUMMY}, "jobs": {"BACKEND": ours}}
        assert found() == set()

    def test_e010_unknown_option(self, settings):
        settings.TASKS = tasks_with(databse="default")
        assert found() == {
            (
                "jobqueue.E010",
                ERROR,
                "TASKS['default']['OPTIONS'] has no key 'databse'. Did you mean 'database'?",
            )
        }

    @pytest.mark.parametrize("wrong", ["other", "", None, 5])
    def test_e011_no_such_database(self, settings, wrong):
        settings.TASKS = tasks_with(database=wrong)
        assert found() == {
            (
                "jobqueue.E011",
                ERROR,
                f"TASKS['default']['OPTIONS']['database'] is {wrong!r}, which is not in DATABASES.",
            )
        }

    @pytest.mark.parametrize("wrong", [0, 0.5, -3, "30", None, True, float("nan"), float("inf"), [30]])
    def test_e012_a_lease_that_cant_work(self, settings, wrong):
        settings.TASKS = tasks_with(lease=wrong)
        assert ids() == {"jobqueue.E012"}

    @pytest.mark.parametrize("right", [1, 30, 2.5, 3600])
    def test_a_lease_that_can(self, settings, right):
        settings.TASKS = tasks_with(lease=right, database="default")
        assert found() == set()

    def test_every_entry_is_checked_and_named(self, settings):
        settings.TASKS = tasks_with() | {"bulk": {"BACKEND": OURS, "OPTIONS": {"lease": 0, "speed": 9}}}
        assert ids() == {"jobqueue.E010", "jobqueue.E012"}
        assert all("TASKS['bulk']" in text for _, _, text in found())

    @pytest.mark.parametrize("options", [None, [], "database", 5])
    def test_e010_options_that_are_no_dictionary(self, settings, options):
        settings.TASKS = {"default": {"BACKEND": OURS, "OPTIONS": options}}
        assert ids() == {"jobqueue.E010"}


REDIS = "django_jobqueue.backends.RedisBackend"
LOCAL = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}


def a_factory():
    raise AssertionError("a check calls no function of the project: it may open connections")


def redis_with(**options):
    return {"fast": {"BACKEND": REDIS, "QUEUES": [], "OPTIONS": options}}


def cache(**values):
    return {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://127.0.0.1:1/0", **values}


class TestRedisBackends:
    """Nothing listens on that port: these checks look at settings only."""

    @pytest.fixture(autouse=True)
    def caches(self, settings):
        settings.CACHES = LOCAL | {
            "jobs": cache(),
            "text": cache(OPTIONS={"CONNECTION_POOL_KWARGS": {"decode_responses": True}}, LOCATION="redis://h:1/1"),
            "shards": cache(
                LOCATION=["redis://a:1/0", "redis://b:1/0"], OPTIONS={"CLIENT_CLASS": "django_redis.client.ShardClient"}
            ),
            "sentinel": cache(
                LOCATION="redis://primary/0",
                OPTIONS={
                    "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
                    "SENTINELS": [("127.0.0.1", 1)],
                },
            ),
        }

    @pytest.mark.parametrize(
        "options",
        [
            {"connection": "jobs"},
            {"connection": "sentinel"},
            {"url": "redis://127.0.0.1:1/3?socket_timeout=2"},
            {"url": "rediss://user:secret@127.0.0.1:1/3"},
            {"url": "unix:///nowhere/redis.sock?db=1"},
            {"connection_factory": "tests.test_checks.a_factory"},
            {"connection": "jobs", "record": "none", "on_commit": "immediate", "prefix": "shop:jobs", "lease": 5},
            {"connection": "jobs", "database": "default", "record": "failures", "on_commit": "on_commit"},
        ],
    )
    def test_what_works(self, settings, options):
        settings.TASKS = redis_with(**options)
        assert found() == set()

    def test_the_connection_is_default_when_nothing_is_said(self, settings):
        settings.TASKS = redis_with()
        ((message_id, _, text),) = found()
        assert message_id == "jobqueue.E014"
        assert "['connection'] can't be used: CACHES['default'] is a" in text
        settings.CACHES = {"default": cache()}
        assert found() == set()

    def test_e010_an_unknown_option(self, settings):
        settings.TASKS = redis_with(connecton="jobs", url="redis://h/0")
        assert {text for _, _, text in found()} == {
            "TASKS['fast']['OPTIONS'] has no key 'connecton'. Did you mean 'connection'?"
        }

    def test_e010_an_option_of_redis_is_none_of_a_database(self, settings):
        settings.TASKS = tasks_with(record="none")
        assert ids() == {"jobqueue.E010"}

    def test_e011_and_e012_are_checked_as_well(self, settings):
        settings.TASKS = redis_with(connection="jobs", database="other", lease=0)
        assert ids() == {"jobqueue.E011", "jobqueue.E012"}

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"connection": "jobs", "url": "redis://h/0"}, "has 'connection' and 'url'; give one of them."),
            ({"url": ""}, "['url'] must be a URL, not ''."),
            ({"connection": None}, "['connection'] must be an alias of CACHES, not None."),
            ({"connection_factory": 5}, "['connection_factory'] must be a dotted path, not 5."),
        ],
    )
    def test_e013_not_exactly_one_connection(self, settings, options, text):
        settings.TASKS = redis_with(**options)
        ((message_id, level, said),) = found()
        assert (message_id, level) == ("jobqueue.E013", ERROR)
        assert text in said

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"connection": "job"}, "'job' is not in CACHES. Did you mean 'jobs'?"),
            ({"connection": "default"}, "is a django.core.cache.backends.locmem.LocMemCache; a queue needs"),
            ({"connection": "shards"}, "spreads its keys over several servers (ShardClient); a queue needs one."),
            ({"connection": "text"}, "has decode_responses=True; jobs are bytes"),
            ({"url": "http://user:secret@h/0"}, "it is no URL of a Redis (redis://, rediss://, unix://)."),
            ({"url": "redis://h:secret/0"}, "it is no URL of a Redis"),
            ({"url": "redis://h/0?decode_responses=True"}, "has decode_responses=True"),
            ({"connection_factory": "nowhere.at.all"}, "No module named 'nowhere'"),
            ({"connection_factory": "tests.test_checks.REDIS"}, "is not callable."),
        ],
    )
    def test_e014_a_connection_that_cant_be_used(self, settings, options, text):
        settings.TASKS = redis_with(**options)
        ((message_id, level, said),) = found()
        assert (message_id, level) == ("jobqueue.E014", ERROR)
        assert text in said
        assert "secret" not in said

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"record": "failure"}, "one of 'all', 'failures', 'none', not 'failure'. Did you mean 'failures'?"),
            ({"record": None}, "not None."),
            (
                {"on_commit": "oncommit"},
                "'outbox', 'on_commit', 'immediate', not 'oncommit'. Did you mean 'on_commit'?",
            ),
            ({"on_commit": True}, "not True."),
        ],
    )
    def test_e015_a_word_that_is_none_of_a_few(self, settings, options, text):
        settings.TASKS = redis_with(connection="jobs", **options)
        ((message_id, level, said),) = found()
        assert (message_id, level) == ("jobqueue.E015", ERROR)
        assert text in said

    @pytest.mark.parametrize("wrong", ["", "a{b}", "a b", "ü", "x" * 101, None, 5, "a\n"])
    def test_e016_a_prefix_that_cant_be_one(self, settings, wrong):
        settings.TASKS = redis_with(connection="jobs", prefix=wrong)
        assert ids() == {"jobqueue.E016"}

    def test_e016_an_alias_the_tables_cant_hold(self, settings):
        settings.TASKS = {"x" * 55: {"BACKEND": REDIS, "OPTIONS": {"connection": "jobs"}}}
        assert ids() == {"jobqueue.E016"}
        settings.TASKS = {"x" * 54: {"BACKEND": REDIS, "OPTIONS": {"connection": "jobs"}}}
        assert ids() == set()
        assert 54 + len("→") + MAX_KEY_LENGTH == Job._meta.get_field("unique_key").max_length

    @pytest.mark.parametrize("options", [None, [], "url"])
    def test_e010_options_that_are_no_dictionary(self, settings, options):
        settings.TASKS = {"fast": {"BACKEND": REDIS, "OPTIONS": options}}
        assert ids() == {"jobqueue.E010"}


WITHOUT_REDIS = """
import sys
sys.modules["redis"] = sys.modules["django_redis"] = None
import django
django.setup()
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.test.utils import override_settings
from django_jobqueue import get_queue, testing
from tests.testapp import tasks

ours = {"BACKEND": "django_jobqueue.backends.DatabaseBackend", "QUEUES": []}
with override_settings(TASKS={"default": ours}):
    assert run_checks(databases=["default"]) == []
    assert get_queue().alias == "default"
fast = {"BACKEND": "django_jobqueue.backends.RedisBackend", "OPTIONS": {"url": "redis://h/0"}}
with override_settings(TASKS={"default": ours, "fast": fast}):
    print(*(f"{message.id} {message.msg}" for message in run_checks(databases=["default"])), sep="\\n")
    try:
        get_queue("fast")
    except ImproperlyConfigured as error:
        print(error)
"""


def test_a_project_without_redis_is_told_so_only_when_it_asks_for_it(child_env, db):
    env = {name: value for name, value in child_env.items() if "_TEST_REDIS" not in name}  # no such caches
    done = subprocess.run([sys.executable, "-c", WITHOUT_REDIS], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    missing = "the package 'redis' is not installed (pip install 'django-jobqueue[redis]')."
    assert done.stdout.splitlines() == [
        f"jobqueue.E014 TASKS['fast']['OPTIONS']['url'] can't be used: {missing}",
        f"TASKS['fast']['OPTIONS']['url'] can't be used: {missing}",
    ]


def test_wrong_options_are_told_without_a_check_too(settings):
    settings.TASKS = redis_with(url="redis://h/0", record="nothing", lease=0)
    with pytest.raises(ImproperlyConfigured, match=r"\['lease'\] must be .*\['record'\] must be one of"):
        get_queue("fast")
