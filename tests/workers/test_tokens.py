"""Only a worker that knows a token is admitted, and only to its queues."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from django_jobqueue import conf
from django_jobqueue.exceptions import WorkerNotAllowed
from django_jobqueue.models import WorkerProcess
from django_jobqueue.queues import get_queue
from django_jobqueue.workers import tokens
from django_jobqueue.workers.membership import Membership
from tests.stores import ONE_STORE

TOKEN = "jobqueue-worker-" + "T" * 43  # the same in every process that collects these tests
HASH = tokens.token_hash(TOKEN)
OTHER = "jobqueue-worker-" + "O" * 43


@pytest.fixture
def admit(settings, monkeypatch):
    """Set the entries of the settings and the token of this process."""
    monkeypatch.delenv(tokens.TOKEN_FILE, raising=False)

    def set_up(entries, token=TOKEN):
        settings.JOBQUEUE = {"WORKER_TOKENS": entries}
        settings.TASKS = ONE_STORE
        if token is None:
            monkeypatch.delenv(tokens.TOKEN, raising=False)
        else:
            monkeypatch.setenv(tokens.TOKEN, token)

    return set_up


def test_a_token_is_long_and_new_each_time():
    made = {tokens.new_token() for _ in range(10)}
    assert len(made) == 10
    assert min(map(len, made)) > 40
    assert f"sha256${hashlib.sha256(TOKEN.encode()).hexdigest()}" == HASH
    assert TOKEN not in HASH


def test_without_entries_everybody_is_admitted(admit):
    admit([], token=None)
    assert tokens.verify_worker_token("")
    tokens.admit([])


@pytest.mark.parametrize(
    ("entries", "queues", "is_admitted"),
    [
        ([HASH], [], True),
        ([HASH], ["emails"], True),
        ([tokens.token_hash(OTHER)], [], False),
        ([tokens.token_hash(OTHER), HASH], [], True),  # while a token is changed, both are valid
        ([{"hash": HASH}], [], True),
        ([{"hash": HASH, "queues": ["emails", "billing"]}], ["emails"], True),
        ([{"hash": HASH, "queues": ["emails", "billing"]}], ["billing", "emails"], True),
        ([{"hash": HASH, "queues": ["emails"]}], ["emails", "billing"], False),
        ([{"hash": HASH, "queues": ["emails"]}], [], False),  # no queues are all queues
        ([{"hash": HASH, "queues": ["emails"]}, {"hash": HASH, "queues": ["billing"]}], ["emails", "billing"], False),
        ([TOKEN], [], False),  # in place of its hash
        ([""], [], False),
        ([HASH.upper()], [], False),
        ([{"hash": HASH, "queues": "emails"}], ["emails"], False),
        ([{"hash": HASH, "queue": ["emails"]}], ["emails"], False),
        ([{"queues": ["emails"]}], ["emails"], False),
        ([None, 7, [HASH]], [], False),
        (HASH, [], False),
    ],
)
def test_who_is_admitted(admit, entries, queues, is_admitted):
    admit(entries)
    assert tokens.verify_worker_token(TOKEN, queues) is is_admitted
    assert not tokens.verify_worker_token("", queues)
    assert not tokens.verify_worker_token(f"{TOKEN}x", queues)


def test_every_entry_is_compared_in_constant_time(admit, monkeypatch):
    admit([HASH, tokens.token_hash(OTHER), HASH])
    compared, compare = [], tokens.hmac.compare_digest
    monkeypatch.setattr(tokens.hmac, "compare_digest", lambda a, b: (compared.append(a), compare(a, b))[1])
    assert tokens.verify_worker_token(TOKEN)
    assert len(compared) == 3


def test_a_file_comes_before_the_environment(admit, monkeypatch, tmp_path):
    admit([HASH], token=OTHER)
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    monkeypatch.setenv(tokens.TOKEN_FILE, str(path))
    tokens.admit([])
    path.unlink()
    with pytest.raises(WorkerNotAllowed, match="can't be read: FileNotFoundError"):
        tokens.admit([])


def test_a_worker_without_a_token_is_told_how(admit):
    admit([HASH], token=None)
    with pytest.raises(WorkerNotAllowed, match="set JOBQUEUE_WORKER_TOKEN_FILE or JOBQUEUE_WORKER_TOKEN"):
        tokens.admit(["emails"])


# at work


@pytest.mark.django_db
def test_each_registration_asks(admit):
    admit([HASH])
    membership = Membership(get_queue(), ("emails",))
    membership.join()
    admit([tokens.token_hash(OTHER)])
    with pytest.raises(WorkerNotAllowed):
        membership.start_anew()
    with pytest.raises(WorkerNotAllowed):
        Membership(get_queue(), ("emails",)).join()
    assert WorkerProcess.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("options", [{"drain": True}, {"processes": 2}])
def test_queue_work_asks_before_it_starts_anything(admit, options):
    admit([{"hash": HASH, "queues": ["emails"]}])
    with pytest.raises(CommandError, match="not admitted: the token of this worker is unknown, or not for all queues"):
        call_command("queue_work", **options)
    assert not WorkerProcess.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_token_is_in_no_log_and_no_table(admit, caplog):
    caplog.set_level(logging.DEBUG)
    admit([HASH])
    out = StringIO()
    call_command("queue_work", drain=True, stdout=out)
    admit([HASH], token=OTHER)
    with pytest.raises(CommandError) as refused:
        call_command("queue_work", drain=True)
    rows = str(list(WorkerProcess.objects.values()))
    assert rows != "[]"
    for secret in (TOKEN, OTHER):
        assert secret not in f"{caplog.text}{out.getvalue()}{rows}{refused.value}{conf.conf()}"
    assert "was not admitted" in caplog.text


# the command and the check


def test_the_command_makes_a_pair_that_fits(admit):
    out = StringIO()
    call_command("queue_token", stdout=out)
    lines = out.getvalue().splitlines()
    assert tokens.token_hash(lines[1]) == lines[3]
    admit([lines[3]], token=lines[1])
    tokens.admit([])


def test_the_command_says_whether_this_environment_is_admitted(admit):
    admit([{"hash": HASH, "queues": ["emails"]}])
    out = StringIO()
    call_command("queue_token", "--check", "--queues", "emails", stdout=out)
    assert out.getvalue() == "Admitted.\n"
    with pytest.raises(CommandError, match="Not admitted: the token"):
        call_command("queue_token", "--check")
    with pytest.raises(CommandError):
        call_command("queue_token", "--check", "--json", stdout=(out := StringIO()))
    assert '"is_admitted": false' in out.getvalue()


@pytest.mark.parametrize(
    "entry",
    [TOKEN, "", HASH[:-1], HASH + "0", {"hash": TOKEN}, {"hash": HASH, "queues": []}, 7],
    ids=["a token", "nothing", "too short", "too long", "a token as hash", "no queues", "a number"],
)
def test_a_malformed_entry_is_told_by_the_checks_without_its_value(entry):
    [problem] = conf.problems({"WORKER_TOKENS": [HASH, entry]})
    assert problem.startswith("JOBQUEUE['WORKER_TOKENS'][1] is no hash of a token")
    assert TOKEN not in problem


def test_a_text_in_place_of_a_list_is_told_without_its_value():
    [problem] = conf.problems({"WORKER_TOKENS": TOKEN})
    assert problem == "JOBQUEUE['WORKER_TOKENS'] must be a list of hashes of tokens, not str."
    assert conf.problems({"WORKER_TOKENS": [HASH, {"hash": HASH, "queues": ["emails"]}]}) == []


@pytest.mark.django_db(transaction=True)
def test_a_real_worker_is_refused_with_exit_code_1(child_env):
    env = child_env | {"DJANGO_SETTINGS_MODULE": "tests.crash.settings", "JOBQUEUE_TEST_ALIAS": "default"}
    env |= {"JOBQUEUE_TEST_CONF": f'{{"WORKER_TOKENS": ["{HASH}"]}}', "PATH": os.environ.get("PATH", "")}
    command = [sys.executable, "-m", "django", "queue_work", "--drain"]
    refused = subprocess.run(command, env=env, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "this project's workers need a token" in refused.stderr
    admitted = subprocess.run(command, env=env | {tokens.TOKEN: TOKEN}, capture_output=True, text=True)
    assert admitted.returncode == 0, admitted.stderr
