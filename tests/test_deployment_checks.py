"""`manage.py check --deploy` asks the Redis behind a store whether jobs can be trusted to it."""

from __future__ import annotations

import io

import pytest
from django.core.checks import INFO, WARNING, run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from django_jobqueue import get_queue
from django_jobqueue.checks import deployment
from django_jobqueue.compat import task_backends
from tests.servers import DurableRedis
from tests.servers.redis import find_redis62

REDIS = "django_jobqueue.backends.RedisBackend"
DJANGO_REDIS = "django_redis.cache.RedisCache"
CORE_REDIS = "django.core.cache.backends.redis.RedisCache"
GONE = "redis://127.0.0.1:1/0?socket_connect_timeout=0.1"


def raises():
    raise KeyError("a function of the project that fails")


def found():
    messages = run_checks(tags=["jobqueue"], include_deployment_checks=True)
    return [(message.id.removeprefix("jobqueue."), message.level, message.msg) for message in messages]


def ids():
    return sorted({message_id for message_id, _, _ in found()})


def text_of(wanted):
    (text,) = [text for message_id, _, text in found() if message_id == wanted]
    return text


@pytest.fixture
def use(settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

    def use(**entries):
        settings.TASKS = {
            alias: {"BACKEND": REDIS, "QUEUES": [], "OPTIONS": options} for alias, options in entries.items()
        }

    yield use
    for backend in task_backends.all():
        if "queue" in vars(backend):
            backend.queue.close()


@pytest.fixture
def server():
    with DurableRedis("everysec") as server:
        yield server


@pytest.fixture
def fast(server, use):
    """A store on a server of this test's own, and its client."""
    use(fast={"url": server.url})
    return get_queue("fast").connection.client


def test_a_database_has_nothing_to_be_asked(settings):
    settings.TASKS = {"default": {"BACKEND": "django_jobqueue.backends.DatabaseBackend", "OPTIONS": {}}}
    assert found() == []


def test_a_plain_check_asks_no_server(use):
    use(fast={"url": GONE})
    assert run_checks(tags=["jobqueue"]) == []


def test_what_the_check_of_options_tells_is_not_told_again(use):
    use(fast={"url": GONE, "record": "nothing"})
    assert found() == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"url": GONE}, "TASKS['fast'] could not be checked: the Redis of the option 'url' did not answer"),
        ({"connection_factory": "tests.test_deployment_checks.raises"}, "a function of the project that fails"),
    ],
)
def test_w020_a_server_that_does_not_answer_is_a_warning(use, options, text):
    use(fast=options)
    ((message_id, level, said),) = found()
    assert (message_id, level) == ("W020", WARNING)
    assert text in said


@pytest.mark.redis
class TestServer:
    @pytest.mark.parametrize("fsync", ["always", "everysec"])
    def test_i020_a_good_one_says_its_level(self, fast, fsync):
        fast.config_set("appendfsync", fsync)
        ((message_id, level, text),) = found()
        assert (message_id, level) == ("I020", INFO)
        assert f"keeps jobs at the level 'aof-{fsync}': " in text
        assert text.startswith("TASKS['fast'] (unix://")

    @pytest.mark.parametrize(
        ("settings_", "level"),
        [
            ({"appendonly": "no"}, "memory"),
            ({"appendonly": "no", "save": "3600 1"}, "rdb"),
            ({"appendfsync": "no"}, "aof-no"),
        ],
    )
    def test_w022_one_that_may_lose_jobs_with_itself(self, fast, settings_, level):
        for name, value in settings_.items():
            fast.config_set(name, value)
        assert ids() == ["W022"]
        assert f"at the level {level!r}: {deployment.LEVELS[level]}." in text_of("W022")

    @pytest.mark.parametrize(
        ("policy", "memory", "wanted"),
        [
            ("allkeys-lru", "64mb", "E020"),
            ("allkeys-random", "64mb", "E020"),
            ("allkeys-lru", "0", "W021"),
            ("volatile-ttl", "64mb", "W021"),
            ("noeviction", "64mb", None),
        ],
    )
    def test_e020_w021_what_it_does_when_its_memory_is_full(self, fast, policy, memory, wanted):
        fast.config_set("maxmemory", memory)
        fast.config_set("maxmemory-policy", policy)
        assert ids() == sorted(["I020", *([wanted] if wanted else [])])
        if wanted:
            assert repr(policy) in text_of(wanted)

    def test_e021_a_replica(self, fast):
        fast.replicaof("127.0.0.1", 1)
        assert ids() == ["E021", "I020"]

    def test_e022_too_old(self, fast, monkeypatch):
        connection = get_queue("fast").connection
        health = connection.health()._replace(kind="redis", version="6.0.16")
        monkeypatch.setattr(connection, "health", lambda: health)
        assert text_of("E022").endswith("is Redis 6.0.16; at least 6.2 is needed.")

    def test_an_error_fails_the_command_and_the_level_is_printed_without_one(self, fast):
        out = io.StringIO()
        call_command("check", deploy=True, tags=["jobqueue"], stderr=out)
        assert "jobqueue.I020" in out.getvalue()
        fast.config_set("maxmemory", "64mb")
        fast.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(SystemCheckError, match=r"jobqueue\.E020"):
            call_command("check", deploy=True, tags=["jobqueue"])

    def test_w020_one_that_lets_nobody_ask(self, fast, server, use):
        fast.acl_setuser("worker", enabled=True, nopass=True, commands=["+ping"])
        use(fast={"url": f"{server.url}?username=worker&password=x"})
        assert "(NOPERM)" in text_of("W020")


@pytest.mark.redis62
def test_the_oldest_that_is_supported_is_not_too_old(use):
    with DurableRedis("always", find_redis62()) as server:
        use(fast={"url": server.url})
        assert ids() == ["I020"]


@pytest.mark.cluster
def test_a_cluster(use):
    use(fast={"connection_factory": "tests.queues.test_redis_connection.cluster_client"})
    assert ids() == ["W022"]
    assert text_of("W022").startswith("TASKS['fast'] (cluster://127.0.0.1:")


class TestSharedWithACache:
    """W023: whoever clears a cache of django-redis deletes everything in its database."""

    @pytest.fixture(autouse=True)
    def silent(self, monkeypatch):
        monkeypatch.setattr(deployment, "_check_server", lambda store: iter(()))

    @pytest.mark.parametrize(
        ("options", "others"),
        [
            ({"url": "redis://127.0.0.1:6380/2"}, ["pages"]),
            ({"url": "redis://localhost:6380?db=2&max_connections=5"}, ["pages"]),
            ({"url": "redis://127.0.0.1:6380/3"}, []),
            ({"url": "redis://127.0.0.1:6381/2"}, []),
            ({"url": "redis://127.0.0.1:6380"}, ["core"]),
            ({"url": "unix:///run/redis.sock?db=1"}, ["socket"]),
            ({"url": "unix:///run/redis.sock"}, []),
            ({"connection": "pages"}, []),
            ({"connection": "again"}, ["twin"]),
            ({"connection": "default"}, ["default"]),
            ({}, ["default"]),
        ],
    )
    def test_which(self, use, settings, options, others):
        settings.CACHES = {
            "default": {"BACKEND": DJANGO_REDIS, "LOCATION": "redis://127.0.0.1:6380/9"},
            "pages": {"BACKEND": DJANGO_REDIS, "LOCATION": "redis://127.0.0.1:6380/2"},
            "socket": {"BACKEND": DJANGO_REDIS, "LOCATION": "unix:///run/redis.sock?db=1"},
            "again": {"BACKEND": DJANGO_REDIS, "LOCATION": "redis://127.0.0.1:6380/5"},
            "twin": {"BACKEND": DJANGO_REDIS, "LOCATION": "redis://127.0.0.1:6380/5", "KEY_PREFIX": "x"},
            "core": {"BACKEND": CORE_REDIS, "LOCATION": "redis://127.0.0.1:6380"},
            "memory": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
            "broken": {"BACKEND": DJANGO_REDIS, "LOCATION": "nonsense"},
        }
        use(fast=options)
        said = [text for message_id, _, text in found() if message_id == "W023"]
        assert len(said) == bool(others)
        for alias in others:
            assert f"CACHES[{alias!r}]" in said[0]


class TestOnAnotherHost:
    @pytest.fixture(autouse=True)
    def silent(self, monkeypatch):
        monkeypatch.setattr(deployment, "_check_server", lambda store: iter(()))

    @pytest.mark.parametrize(
        ("url", "wanted"),
        [
            ("redis://redis.internal/0", ["W024", "W025"]),
            ("redis://:secret@redis.internal/0", ["W025"]),
            ("rediss://redis.internal/0", ["W024"]),
            ("rediss://me:secret@10.0.0.7/0", []),
            ("redis://127.0.0.1/0", []),
            ("redis://localhost/0", []),
            ("redis://[::1]:6379/0", []),
            ("unix:///run/redis.sock", []),
        ],
    )
    def test_w024_w025_password_and_encryption(self, use, url, wanted):
        use(fast={"url": url})
        assert ids() == wanted
        assert not any("secret" in text for _, _, text in found())

    def test_of_sentinel_one_has_no_idea_where_it_leads(self, use, settings):
        options = {
            "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
            "SENTINELS": [("127.0.0.1", 1)],
            "PASSWORD": "secret",
        }
        # a name no other test uses: django-redis keeps a pool per LOCATION for as long as the process lives
        settings.CACHES = {"jobs": {"BACKEND": DJANGO_REDIS, "LOCATION": "redis://guarded/0", "OPTIONS": options}}
        use(fast={"connection": "jobs"})
        assert ids() == ["W025"]
        assert "(sentinel://guarded/0)" in text_of("W025")


class TestSharedByTwoEntries:
    @pytest.fixture(autouse=True)
    def silent(self, monkeypatch):
        monkeypatch.setattr(deployment, "_check_server", lambda store: iter(()))

    @pytest.mark.parametrize(
        ("one", "other", "keys"),
        [
            ({}, {"record": "none"}, "'record'"),
            ({"lease": 10}, {"record": "failures"}, "'lease', 'record'"),
            ({}, {"record": "all", "lease": 30.0, "database": "default"}, None),
            ({}, {"on_commit": "immediate"}, None),
            ({"prefix": "a"}, {"record": "none"}, None),
            ({"prefix": "a"}, {"prefix": "a", "record": "none"}, "'record'"),
        ],
    )
    def test_w026_one_store_that_is_described_twice(self, use, one, other, keys):
        use(fast={"url": "redis://localhost/3"} | one, slow={"url": "redis://127.0.0.1:6379/3"} | other)
        said = [text for message_id, _, text in found() if message_id == "W026"]
        assert len(said) == bool(keys)
        if keys:
            assert said[0].endswith(f"and TASKS['slow'] are one store, but differ in {keys}.")

    @pytest.mark.parametrize(
        ("options", "other_location", "is_told"),
        [
            ({"SOCKET_TIMEOUT": 2}, "redis://127.0.0.1/1", True),
            ({"SOCKET_TIMEOUT": 1}, "redis://127.0.0.1/1", False),
            ({"SOCKET_TIMEOUT": 2}, "redis://127.0.0.1/2", False),
        ],
    )
    def test_w027_a_pool_that_two_caches_describe(self, use, settings, options, other_location, is_told):
        common = {"BACKEND": DJANGO_REDIS}
        settings.CACHES = {
            "jobs": common | {"LOCATION": "redis://127.0.0.1/1", "OPTIONS": {"SOCKET_TIMEOUT": 1}},
            "other": common | {"LOCATION": other_location, "OPTIONS": options},
        }
        use(fast={"connection": "jobs"})
        assert ("W027" in ids()) is is_told
