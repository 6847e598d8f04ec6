"""What goes wrong between us and a Redis server, in our words; and how it is right again."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import pytest
import redis
from django.db import OperationalError

from django_jobqueue.exceptions import EnqueueError, JobQueueError, QueueFull, StoreError, StoreUnavailable
from django_jobqueue.queues.redis.failures import code_of
from tests.queues.hooks import wait_for
from tests.servers import DurableRedis
from tests.servers.redis import find_redis, find_redis62
from tests.servers.rooms import LOOPBACK, Account, Room, ask, free_ports

DJANGO_REDIS = "django_redis.cache.RedisCache"


TEXTS = {
    "LOADING Redis is loading the dataset in memory": StoreUnavailable,
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.": StoreUnavailable,
    "CLUSTERDOWN The cluster is down": StoreUnavailable,
    "TRYAGAIN Multiple keys request during rehashing of slot": StoreUnavailable,
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL": StoreUnavailable,
    "MISCONF Redis is configured to save RDB snapshots, but": StoreUnavailable,
    "NOREPLICAS Not enough good replicas to write.": StoreUnavailable,
    "READONLY You can't write against a read only replica.": StoreUnavailable,
    "UNBLOCKED client unblocked via CLIENT UNBLOCK": StoreUnavailable,
    "NOAUTH Authentication required.": StoreUnavailable,
    "WRONGPASS invalid username-password pair": StoreUnavailable,
    "NOPERM this user has no permissions to run the 'evalsha' command": StoreUnavailable,
    "ERR max number of clients reached": StoreUnavailable,
    "OOM command not allowed when used memory > 'maxmemory'.": QueueFull,
    "ERR Error running script (call to f_1): @user_script:3: @user_script: 3: -OOM command not allowed": QueueFull,
    "ERR Error running script (call to f_1): @user_script:3: @user_script: 3: -READONLY You can't": StoreUnavailable,
    "ERR Error running script (call to f_1): @user_script: 1: The user executing the script can't": StoreUnavailable,
    "WRONGTYPE Operation against a key holding the wrong kind of value": StoreError,
    "MOVED 3999 127.0.0.1:6381": StoreError,
    "CROSSSLOT Keys in request don't hash to the same slot": StoreError,
    "ERR unknown command 'EVALSHA'": StoreError,
    "ERR a READONLY word inside": StoreError,
}


class TestTranslation:
    @pytest.fixture
    def connection(self, open_connection):
        return open_connection(url="redis://127.0.0.1:1/0")

    @pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.split()[0])
    def test_what_a_server_says(self, connection, text):
        said = redis.connection.DefaultParser.parse_error(text)
        error = connection.translate(said)
        assert type(error) is TEXTS[text]
        assert isinstance(error, JobQueueError)

    @pytest.mark.parametrize(
        "error",
        [
            redis.ConnectionError("Connection refused"),
            redis.TimeoutError("Timeout reading from socket"),
            redis.exceptions.ClusterError("TTL exhausted."),
            redis.exceptions.SlotNotCoveredError('Slot "3999" is not covered by the cluster.'),
            redis.exceptions.RedisClusterException("Redis Cluster cannot be connected."),
            redis.ConnectionError("Too many connections"),
            redis.exceptions.ChildDeadlockedError(),
            redis.sentinel.MasterNotFoundError("No master found"),
            redis.exceptions.InvalidResponse("Protocol Error"),
            ConnectionResetError(104, "reset by peer"),
            TimeoutError(),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_no_answer(self, connection, error):
        with (
            pytest.raises(StoreUnavailable, match=r"the Redis of the option 'url' did not answer: .") as caught,
            connection.errors(),
        ):
            raise error
        assert caught.value.__cause__ is error
        assert isinstance(caught.value, OperationalError)

    def test_full_is_a_reason_not_to_enqueue_and_to_wait(self):
        assert issubclass(QueueFull, EnqueueError)
        assert issubclass(QueueFull, OperationalError)

    def test_our_own_errors_and_those_of_others_are_left_alone(self, connection):
        ours = StoreError("x")
        assert connection.translate(ours) is ours
        with pytest.raises(KeyError), connection.errors():
            raise KeyError

    def test_a_plain_client_on_a_cluster_is_told_so(self, connection):
        error = connection.translate(redis.connection.DefaultParser.parse_error("MOVED 1 127.0.0.1:6381"))
        assert "give a connection_factory" in str(error)

    def test_a_secret_is_in_no_message(self, open_connection):
        connection = open_connection(url="redis://me:secret@127.0.0.1:1/0")
        with pytest.raises(StoreUnavailable) as caught:
            connection.health()
        assert "secret" not in str(caught.value)
        assert "secret" not in connection.address.text + connection.name

    @pytest.mark.redis
    def test_nothing_is_swallowed_when_django_redis_is_told_to(self, settings, open_connection):
        settings.DJANGO_REDIS_IGNORE_EXCEPTIONS = True
        settings.CACHES = {"gone": {"BACKEND": DJANGO_REDIS, "LOCATION": "redis://127.0.0.1:1/0"}}
        connection = open_connection(connection="gone")
        with pytest.raises(StoreUnavailable), connection.errors():
            connection.client.ping()


SPIN = "local t = redis.call('TIME')[1] while redis.call('TIME')[1] - t < 3 do end"


@pytest.mark.redis
class TestAServerInTrouble:
    def fails(self, connection, kind, *command):
        with pytest.raises(kind) as caught, connection.errors():
            connection.client.execute_command(*command)
        assert type(caught.value) is kind
        return str(caught.value)

    def test_it_is_full(self, own):
        own.client.config_set("maxmemory", 1)
        assert "reached its maxmemory" in self.fails(own, QueueFull, "SET", "a", "b")
        self.fails(own, QueueFull, "EVAL", "return redis.call('SET', 'a', 'b')", 0)

    def test_it_is_a_replica(self, own):
        own.client.replicaof("127.0.0.1", 1)
        assert "(READONLY)" in self.fails(own, StoreUnavailable, "SET", "a", "b")
        self.fails(own, StoreUnavailable, "EVAL", "return redis.call('SET', 'a', 'b')", 0)

    def test_after_a_failover_the_next_call_has_a_new_connection(self, own):
        before = own.client.client_id()
        own.client.replicaof("127.0.0.1", 1)
        self.fails(own, StoreUnavailable, "SET", "a", "b")
        own.client.replicaof("NO", "ONE")
        assert own.client.set("a", "b")
        assert own.client.client_id() != before

    def test_another_error_keeps_the_connection(self, own):
        before = own.client.client_id()
        own.client.set("a", "b")
        self.fails(own, StoreError, "LPUSH", "a", "b")
        assert own.client.client_id() == before

    def test_its_primary_is_away(self, own):
        own.client.config_set("replica-serve-stale-data", "no")
        own.client.replicaof("127.0.0.1", 1)
        assert "(MASTERDOWN)" in self.fails(own, StoreUnavailable, "GET", "a")

    def test_it_has_no_replicas(self, own):
        own.client.config_set("min-replicas-to-write", 1)
        assert "(NOREPLICAS)" in self.fails(own, StoreUnavailable, "SET", "a", "b")

    def test_a_script_keeps_it_busy(self, server, own):
        own.client.config_set("busy-reply-threshold", 50)
        other = redis.Redis.from_url(server.url)

        def spin():
            with pytest.raises(redis.RedisError):
                other.eval(SPIN, 0)

        spinning = threading.Thread(target=spin)
        spinning.start()
        wait_for(lambda: "BUSY" in self.says(own))
        own.client.execute_command("SCRIPT KILL")
        spinning.join()
        assert own.client.ping()

    def says(self, connection):
        try:
            with connection.errors():
                connection.client.ping()
        except StoreUnavailable as error:
            return str(error)
        return ""

    def test_it_refuses_the_user(self, server, own, open_connection):
        own.client.acl_setuser("guest", enabled=True, passwords=["+right"], commands=["+ping"])
        guest = open_connection(url=f"{server.url}?username=guest&password=right")
        assert "(NOPERM)" in self.fails(guest, StoreUnavailable, "SET", "a", "b")
        self.fails(open_connection(url=f"{server.url}?username=guest&password=wrong"), StoreUnavailable, "PING")

    def test_it_refuses_a_command_in_a_script(self, server, own, open_connection):
        own.client.acl_setuser("guest", enabled=True, nopass=True, commands=["+eval", "+get"], keys=["*"])
        guest = open_connection(url=f"{server.url}?username=guest&password=x")
        assert "(NOPERM)" in self.fails(guest, StoreUnavailable, "EVAL", "return redis.call('SET', 'a', 'b')", 0)

    def test_it_dies_and_comes_back(self, server, own):
        assert own.client.set("a", "b")
        server.kill()
        self.fails(own, StoreUnavailable, "GET", "a")
        with pytest.raises(StoreUnavailable):
            own.health()
        server.start()
        assert own.client.get("a") == b"b"
        assert own.health().role == "primary"

    def test_it_hangs(self, server, own):
        assert own.client.ping()
        server.freeze()
        try:
            self.fails(own, StoreUnavailable, "PING")
        finally:
            server.thaw()
        assert wait_for(own.client.ping)

    def test_it_forgets_the_scripts(self, own):
        sha = own.client.script_load("return 1")
        own.client.script_flush()
        with pytest.raises(redis.exceptions.NoScriptError) as caught:
            own.client.evalsha(sha, 0)
        assert code_of(caught.value) == "NOSCRIPT"


@pytest.mark.redis62
class TestAnOldServerInTrouble(TestAServerInTrouble):
    """Before Redis 7 the error inside a script comes wrapped in another."""

    @pytest.fixture
    def server(self):
        with DurableRedis("everysec", find_redis62()) as server:
            yield server

    def test_a_script_keeps_it_busy(self, server, own):
        own.client.config_set("lua-time-limit", 50)
        own.client.config_set = lambda *_: None
        super().test_a_script_keeps_it_busy(server, own)


@pytest.fixture
def sentinel(settings):
    """A primary, a replica, and one sentinel that watches them, as a cache of django-redis."""
    settings.CACHES = {}
    directory = Path(os.environ["JOBQUEUE_TEST_DIR"], f"sentinel-{os.getpid()}")
    room = Room(directory, Account())
    first, second, watcher = free_ports(3)
    try:
        for port, more in ((first, ""), (second, f"--replicaof {LOOPBACK} {first}")):
            serve_on(room, port, f"--save --repl-diskless-sync-delay 0 {more}")
        config = directory / "sentinel.conf"
        config.write_text(
            f"sentinel monitor jobs {LOOPBACK} {first} 1\n"
            "sentinel down-after-milliseconds jobs 300\nsentinel failover-timeout jobs 2000\n"
        )
        serve_on(room, watcher, "", config, "--sentinel")
        wait_for(lambda: b"slaves=1" in ask(watcher, b"INFO sentinel\r\n"), 20)
        settings.CACHES = {
            "jobs": {
                "BACKEND": DJANGO_REDIS,
                "LOCATION": "redis://jobs/0",
                "OPTIONS": {
                    "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
                    "SENTINELS": [(LOOPBACK, watcher)],
                },
            }
        }
        yield room
    finally:
        room.stop()
        shutil.rmtree(directory, ignore_errors=True)


def serve_on(room, port, options, *first):
    command = [find_redis(), *first, *f"--port {port} --bind {LOOPBACK} --dir {room.path} {options}".split()]
    return room.serve(command, ready=lambda: ask(port, b"PING\r\n").startswith(b"+PONG"))


@pytest.mark.slow
@pytest.mark.redis
class TestSentinel:
    def test_a_queue_follows_its_primary(self, sentinel, open_connection):
        connection = open_connection(connection="jobs")
        assert connection.address.text == "sentinel://jobs/0"
        assert connection.health().role == "primary"
        listener = connection.listener()
        listener.subscribe("news")
        assert wait_for(lambda: listener.get_message(timeout=0.1) is None)
        assert connection.client.set("a", "b")
        wait_for(lambda: connection.client.info("replication")["connected_slaves"] == 1)
        connection.client.wait(1, 2_000)

        sentinel.processes[0].kill()
        with pytest.raises(StoreUnavailable), connection.errors():
            connection.client.get("a")
        begun = time.monotonic()
        assert wait_for(lambda: self.get(connection), 30) == b"b"
        assert connection.health().role == "primary"
        with pytest.raises(StoreUnavailable), connection.errors():
            wait_for(lambda: listener.get_message(timeout=0.1))
        assert self.heard_again(connection)
        assert time.monotonic() - begun < 30

    def get(self, connection):
        try:
            with connection.errors():
                return connection.client.set("b", "c") and connection.client.get("a")
        except StoreUnavailable:
            return None

    def heard_again(self, connection):
        listener = connection.listener()
        listener.subscribe("news")
        wait_for(lambda: listener.get_message(timeout=0.1) is None)
        connection.client.publish("news", "x")
        return wait_for(lambda: listener.get_message(timeout=0.1))
