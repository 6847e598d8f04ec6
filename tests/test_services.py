"""The servers of the tests, and the plugin: a leg that was not run can't look like one that was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests import proc, servers, services
from tests.waiting import wait_until

LEG = """
import pytest

@pytest.mark.{marker}
def test_it({arguments}):
    pass
"""


@pytest.fixture
def run_leg(tmp_path):
    """`run_leg(marker, **env)`: a pytest of its own with one test for a service; its exit code and what it printed."""

    def run(marker: str, **env: str) -> tuple[int, str]:
        (tmp_path / "test_leg.py").write_text(LEG.format(marker=marker, arguments="name" if "name" in marker else ""))
        (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p tests.services --strict-markers\n")
        urls = {services.url_variable(name) for name in services.SERVICES} | {"PYTEST_XDIST_WORKER"}
        inherited = {name: value for name, value in os.environ.items() if name not in urls}
        command = [sys.executable, "-m", "pytest", "-p", "no:django", "-p", "no:cacheprovider", str(tmp_path)]
        root = str(Path(__file__).resolve().parents[1])
        done = subprocess.run(
            command, env=inherited | {"PYTHONPATH": root} | env, cwd=tmp_path, capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", services.SERVICES)
def test_a_service_that_was_not_started_skips_its_tests_and_says_so(run_leg, name):
    code, said = run_leg(name, JOBQUEUE_TEST_SERVICES="none", JOBQUEUE_TEST_REQUIRE="")

    assert code == 0
    assert f"{name}: 0 tests ran, 1 were skipped" in said


@pytest.mark.slow
@pytest.mark.parametrize("name", services.SERVICES)
def test_a_required_service_that_is_missing_ends_the_run(run_leg, name):
    code, said = run_leg(name, JOBQUEUE_TEST_SERVICES="none", JOBQUEUE_TEST_REQUIRE=name)

    assert code == pytest.ExitCode.USAGE_ERROR
    assert f"required services are not here: {name}" in said


@pytest.mark.slow
def test_an_old_redis_that_was_not_fetched_is_missing_and_says_how_to_fetch_it(run_leg, tmp_path):
    nowhere = str(tmp_path / "nowhere")
    code, said = run_leg(
        "redis62", JOBQUEUE_TEST_SERVICES="redis62", JOBQUEUE_TEST_REQUIRE="", JOBQUEUE_TEST_REDIS62_BIN=nowhere
    )

    assert code == 0
    assert "redis62: MISSING: no Redis 6.2 in this virtualenv: python -m tests.servers.fetch" in said


@pytest.mark.redis
def test_a_leg_that_ran_is_counted(run_leg):
    code, said = run_leg("redis", JOBQUEUE_TEST_SERVICES="redis", JOBQUEUE_TEST_REQUIRE="redis")

    assert code == 0
    assert "redis: 1 tests ran, 0 were skipped" in said


@pytest.mark.slow
def test_a_test_that_is_only_called_like_a_service_is_not_counted(run_leg):
    _, said = run_leg("parametrize('name', ['redis'])", JOBQUEUE_TEST_SERVICES="none", JOBQUEUE_TEST_REQUIRE="")

    assert "1 passed" in said
    assert "redis: 1 tests ran" not in said


@pytest.mark.redis62
def test_the_old_redis_is_the_oldest_that_is_supported():
    client = redis.Redis.from_url(os.environ["JOBQUEUE_TEST_REDIS62_URL"])

    assert client.info("server")["redis_version"].startswith("6.2.")
    client.close()


@pytest.mark.cluster
def test_the_cluster_has_three_nodes_and_serves_every_slot():
    cluster = redis.cluster.RedisCluster.from_url(os.environ["JOBQUEUE_TEST_CLUSTER_URL"])

    assert len(cluster.get_primaries()) == 3
    used = {cluster.get_node_from_key(key).name for key in map(str, range(30)) if cluster.set(f"services:{key}", key)}
    assert len(used) == 3
    cluster.close()


@pytest.mark.redis
class TestDurableRedis:
    def test_what_it_acknowledged_outlives_its_death(self):
        with servers.DurableRedis() as server:
            client = redis.Redis.from_url(server.url)
            client.set("key", "value")
            server.kill()
            with pytest.raises(redis.ConnectionError):
                client.ping()
            server.start()
            assert client.get("key") == b"value"
            client.close()

    def test_a_frozen_one_keeps_its_connections_and_answers_nobody(self):
        with servers.DurableRedis() as server:
            client = redis.Redis.from_url(server.url, socket_timeout=0.1)
            client.ping()
            server.freeze()
            with pytest.raises(redis.TimeoutError):
                client.ping()
            server.thaw()
            assert client.ping()
            client.close()

    def test_it_goes_with_the_process_that_started_it(self):
        script = """if True:
            import os, redis, signal
            from tests import servers
            server = servers.DurableRedis()
            server.start()
            print(redis.Redis.from_url(server.url).info("server")["process_id"], flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        """
        pid = int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=Path.cwd()).stdout)

        wait_until(lambda: not proc.is_alive(pid), "the end of the server")
