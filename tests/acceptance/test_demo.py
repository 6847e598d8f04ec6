"""The example shop, as somebody meets it who has just cloned the repository: migrate, demo, look at the admin."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from PIL import Image, ImageChops, ImageStat

from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "example_project"
SAMPLES = EXAMPLE / "samples"


def manage(
    folder: Path, *arguments: str, script: str = "manage.py", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the example's manage.py with its data in `folder`, and nothing of this test run in its environment."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "JOBQUEUE_"))}
    return subprocess.run(
        [sys.executable, EXAMPLE / script, *arguments],
        env=own | {"PYTHONPATH": str(ROOT), "JOBQUEUE_EXAMPLE_DIR": str(folder)} | variables,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=170,
    )


def succeed(folder: Path, *arguments: str, **variables: str) -> str:
    done = manage(folder, *arguments, **variables)
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


# the demo


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("shop")
    succeed(folder, "migrate", "--verbosity", "0")
    broken_off = manage(folder, "demo", "--patience", "0.5")
    return SimpleNamespace(folder=folder, broken_off=broken_off, said=succeed(folder, "demo"))


@pytest.fixture
def rows(shop: SimpleNamespace) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(shop.folder / "db.sqlite3")) as connection:
        yield connection


slow = pytest.mark.slow


@slow
def test_it_says_what_happened(shop):
    total = re.search(r"total +2,358 +2,337 +\d+ +\d+ +20 +1 ", shop.said)
    assert total, shop.said
    assert re.search(r"[\d,]+ jobs/s", shop.said)
    assert "make serve" in shop.said
    assert "http://127.0.0.1:8000/admin/" in shop.said


@slow
def test_the_books_add_up(shop):
    assert answers(shop.said) == ["yes"] * 8


@slow
def test_each_dead_letter_has_its_reason(shop, rows):
    """P9: nothing is dropped silently."""
    found = dict(rows.execute("SELECT reason, count(*) FROM jobqueue_dead_letter_jobs GROUP BY reason"))
    assert sum(found.values()) == 20
    assert (found["discarded"], found["unknown_task"], found["signature_mismatch"]) == (4, 1, 1)
    assert rows.execute("SELECT count(*) FROM jobqueue_dead_letter_jobs WHERE error_message = ''").fetchone() == (0,)


@slow
def test_no_job_is_left_in_a_room(rows):
    """P11: a job that is over is in none of the rooms of live jobs."""
    for room in ("jobs", "job_priorities", "delayed_jobs", "job_locks"):
        assert rows.execute(f"SELECT count(*) FROM jobqueue_{room}").fetchone() == (0,), room


@slow
def test_p7_each_tick_became_one_job_and_what_code_declares_is_in_the_tables(shop, rows):
    assert "8 ticks of schedules were due, and 8 jobs came of them, one each" in shop.said
    found = dict(rows.execute("SELECT source, count(*) FROM jobqueue_recurring_jobs GROUP BY source"))
    assert (found["code"], found["admin"]) == (5, 4)
    assert found["chore"] > 0
    log = (shop.folder / "var" / "scheduler.log").read_text()  # on SQLite the worker has a scheduler as well
    assert re.search(r"^default: [0-8] dispatched, 0 failed$", log, re.MULTILINE), log


@slow
def test_it_leaves_a_shop_whose_schedules_are_on(shop, rows):
    ours = "FROM jobqueue_recurring_jobs WHERE source = 'code'"
    assert rows.execute(f"SELECT count(*), sum(enabled), count(due_at) {ours}").fetchone() == (5, 5, 5)


@slow
def test_the_worker_signed_off(shop, rows):
    assert rows.execute("SELECT DISTINCT state FROM jobqueue_worker_processes").fetchall() == [("stopped",)]
    assert rows.execute("SELECT count(*) FROM jobqueue_worker_processes WHERE store = ''").fetchone() == (1,)
    log = (shop.folder / "var" / "worker.log").read_text()
    assert re.search(r"Worker \S+ stopped: 2337 completed", log), log
    assert "Warning: " not in log


@slow
def test_the_work_was_real(shop):
    var = shop.folder / "var"
    letters = "".join(file.read_text() for file in (var / "mail").iterdir())
    assert len(set(re.findall(r"^Message-ID: <(INV-\d+)@", letters, re.MULTILINE))) == 1_155
    assert len(set(re.findall(r"^Message-ID: <(sales-\S+)>", letters, re.MULTILINE))) == 2
    thumbnails = list((var / "media" / "thumbnails").iterdir())
    assert len(thumbnails) == 12
    for file in thumbnails:
        with Image.open(file) as picture:
            assert max(picture.size) == 480
    assert re.search(r"in EUR [\d,]+\.\d\d", (var / "report.txt").read_text())


@slow
def test_the_books_notice_a_lie(shop, tmp_path):
    """A demo that can't fail proves nothing: with one thumbnail taken away, its own check says no."""
    script = (
        "from shop.demo import books; from shop.models import Picture; facts = books.expected();"
        "Picture.objects.filter(pk=Picture.objects.exclude(thumbnail='').first().pk).update(thumbnail='');"
        "print([check.holds for check in books.checks(facts, books.accounts(facts))].count(False))"
    )
    for file in shop.folder.glob("db.sqlite3*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "var").symlink_to(shop.folder / "var")
    assert succeed(tmp_path, "shell", "--verbosity", "0", "--command", script).strip() == "1"


@slow
def test_a_demo_that_is_not_done_in_time_fails_and_leaves_nothing_behind(shop):
    """The books of the one that ran after it are the proof: what the first one left would not add up."""
    assert shop.broken_off.returncode != 0
    assert "still wait" in shop.broken_off.stderr
    assert "The end of" in shop.broken_off.stderr


@slow
@pytest.mark.postgres
def test_the_demo_runs_on_postgresql(tmp_path):
    import psycopg

    url = os.environ["JOBQUEUE_TEST_POSTGRES_URL"]
    name = f"shop_{os.getpid()}"
    shop_url = urlsplit(url)._replace(path=f"/{name}").geturl()
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        try:
            succeed(tmp_path, "migrate", "--verbosity", "0", JOBQUEUE_EXAMPLE_POSTGRES=shop_url)
            said = succeed(tmp_path, "demo", JOBQUEUE_EXAMPLE_POSTGRES=shop_url)
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    assert "postgresql" in said
    assert " NO  " not in said


@slow
@pytest.mark.redis
def test_the_demo_runs_on_redis_and_its_server_keeps_the_jobs_and_goes_with_it(tmp_path):
    succeed(tmp_path, "migrate", "--verbosity", "0")
    said = succeed(tmp_path, "demo", script="with_redis.py")
    assert re.search(r"default: all jobs in (Valkey|Redis) [\d.]+ \(aof-everysec\)", said)
    assert re.search(r"total +2,358 +2,337 +\d+ +\d+ +20 +1 ", said), said
    assert answers(said) == ["yes"] * 8
    assert not is_listening(tmp_path)

    enqueue = "from shop.tasks import remind; print(remind.enqueue(order_number='10003').id)"
    job_id = succeed(tmp_path, "shell", "--verbosity", "0", "--command", enqueue, script="with_redis.py").strip()
    assert not is_listening(tmp_path)
    assert "1 completed" in succeed(tmp_path, "queue_work", "--drain", script="with_redis.py")
    with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as rows:
        ended = rows.execute("SELECT outcome, store FROM jobqueue_job_history WHERE job_id = ?", [UUID(job_id).hex])
        assert ended.fetchall() == [("completed", "default")]


@slow
@pytest.mark.redis
def test_the_demo_runs_on_both_stores_at_once_with_one_worker_command(tmp_path):
    succeed(tmp_path, "migrate", "--verbosity", "0")
    said = succeed(tmp_path, "--both", "demo", script="with_redis.py")
    assert "default: the database" in said
    assert "fast: pictures and billing in" in said
    assert "1,186 in 'default' and 1,172 in 'fast'" in said
    assert answers(said) == ["yes"] * 9
    log = (tmp_path / "var" / "worker.log").read_text()
    assert sum(int(count) for count in re.findall(r"\((?:default|fast)\): (\d+) completed", log)) == 2_337, log


@slow
@pytest.mark.redis
def test_the_server_goes_with_its_command_even_when_that_is_killed(tmp_path):
    gate = tmp_path / "gate"
    script = f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.01)"
    command = [sys.executable, EXAMPLE / "with_redis.py", "shell", "--verbosity", "0", "--command", script]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JOBQUEUE_EXAMPLE_DIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, cwd=tmp_path) as process:
        try:
            wait_until(lambda: is_listening(tmp_path))
            assert "PONG" in succeed(tmp_path, "shell", "--verbosity", "0", "--command", PING, script="with_redis.py")
            assert is_listening(tmp_path)  # who found it running leaves it running
            process.kill()
            wait_until(lambda: not is_listening(tmp_path))
        finally:
            process.kill()
            gate.touch()


PING = "from django.core.cache import caches; caches['jobqueue'].client.get_client().ping() and print('PONG')"


def answers(said: str) -> list[str]:
    return re.findall(r"^ +(yes|NO)  ", said, re.MULTILINE)


def is_listening(folder: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(str(folder / "redis" / "redis.sock")) == 0


def test_a_store_that_can_t_be_is_refused(tmp_path):
    for store, words in [("redis", "with_redis.py starts"), ("nowhere", "none of database, redis, both")]:
        refused = manage(tmp_path, "check", JOBQUEUE_EXAMPLE_STORE=store)
        assert words in refused.stderr
        assert refused.returncode != 0


# the project


def test_the_example_is_in_order(tmp_path):
    assert "No changes detected" in succeed(tmp_path, "makemigrations", "--check", "--dry-run")
    assert "no issues" in succeed(tmp_path, "check", "--fail-level", "WARNING")


# the samples


@pytest.fixture(scope="module")
def made_again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    subprocess.run([sys.executable, EXAMPLE / "make_samples.py", folder], check=True)
    return folder


def test_the_samples_are_what_the_script_makes(made_again):
    assert names(made_again) == names(SAMPLES)
    for file in ("orders.csv", "products.csv", "rates.json", "expected.json"):
        assert digest(made_again / file) == digest(SAMPLES / file), file


def test_the_pictures_are_what_the_script_draws(made_again):
    """As seen, not byte by byte: the bytes are up to the release of libjpeg."""
    for file in sorted((SAMPLES / "pictures").iterdir()):
        if file.name == "jar.jpg":
            continue  # where exactly it is cut depends on its bytes
        with Image.open(file) as ours, Image.open(made_again / "pictures" / file.name) as again:
            assert ours.size == again.size
            difference = ImageChops.difference(ours.convert("RGB"), again.convert("RGB"))
            assert max(ImageStat.Stat(difference).mean) < 1, file.name


def test_the_samples_are_small_enough_to_be_cloned():
    assert sum(file.stat().st_size for file in SAMPLES.rglob("*") if file.is_file()) < 3_000_000


def names(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*"))


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
