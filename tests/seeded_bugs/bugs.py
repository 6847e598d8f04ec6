"""The bugs: who had it, what is changed, and which tests must notice.

Of the list that was collected from other queues, these are those whose feature exists here. Missing are those of
schedules (fired twice when the clocks change, a random expression accepted, a tick stored apart from its job) and of
batches (a counter that is not fenced).
"""

from __future__ import annotations

from dataclasses import dataclass

ORM = "django_jobqueue/queues/orm"
LUA = "django_jobqueue/queues/redis/scripts"
WORKERS = "django_jobqueue/workers"


@dataclass(frozen=True)
class Edit:
    """In `file`, the one place where `old` stands becomes `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Bug:
    """`who` had it. `tests`: arguments of pytest, on `services`."""

    name: str
    who: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]
    services: str = "none"


def bug(name: str, who: str, *edits: Edit, tests: str, k: str, services: str = "none") -> Bug:
    return Bug(name, who, edits, (tests, "-k", k), services)


COMMIT = "connection.connection.commit()"
"""What is done from here on is not in the same transaction."""

BUGS = [
    bug(
        "no_fence",
        "Oban, chancy, procrastinate: a completion is written whoever holds the job",
        Edit(
            f"{ORM}/completing.py",
            "workers = self._end_all(keys)\n",
            "workers = dict.fromkeys(keys) | self._end_all(keys)\n",
        ),
        tests="tests/queues/test_sqlite.py",
        k="p3",
    ),
    bug(
        "fence_of_state_only",
        "River, pg-boss: a settlement counts while the job is running, under whatever lease",
        Edit(f"{ORM}/sqlite.py", "AND lease_no = ? AND name", "AND ? AND name"),
        tests="tests/queues/test_sqlite.py",
        k="p3",
    ),
    bug(
        "fence_of_state_only_in_postgresql",
        "River, pg-boss",
        Edit(f"{ORM}/postgresql.py", "k.id = d.id AND k.lease_no = d.lease_no AND", "k.id = d.id AND"),
        tests="tests/queues/test_postgres.py",
        k="p3",
        services="postgres",
    ),
    bug(
        "fence_of_state_only_in_redis",
        "River, pg-boss",
        Edit(
            f"{LUA}/exchange.lua",
            " and fence_of(state) == fences[i] then",
            " then",
        ),
        tests="tests/queues/test_redis.py",
        k="p3",
        services="redis",
    ),
    bug(
        "reap_without_looking_again",
        "River #1302: who is not found alive at first is taken for dead, whatever has happened since",
        Edit(
            f"{ORM}/leases.py",
            "        states = {dialect.from_id(row[0]): row[1] for row in rows}\n",
            "        states = {lease.worker_id: _DEAD for lease in leases}\n",
        ),
        tests="tests/queues/test_mariadb.py",
        k="joins_and_claims_while_reclaim_reads",
        services="mariadb",
    ),
    bug(
        "claim_with_a_subquery",
        "odd-jobs, Django's natural ORM claim (PostgreSQL bug 15715): the limit of a claim is passed",
        Edit(
            f"{ORM}/postgresql.py",
            "WITH line AS MATERIALIZED (\n    SELECT ctid FROM {READY}\n",
            "WITH gone AS (\n    DELETE FROM {READY} r WHERE r.job_id IN (SELECT job_id FROM {READY}\n",
        ),
        Edit(
            f"{ORM}/postgresql.py",
            "FOR UPDATE OF {READY} SKIP LOCKED\n), gone AS (\n"
            "    DELETE FROM {READY} r WHERE r.ctid = ANY (ARRAY(SELECT ctid FROM line))\n",
            "FOR UPDATE OF {READY} SKIP LOCKED)\n",
        ),
        tests="tests/queues/test_claim.py",
        k="claim_never_passes_its_limit",
        services="postgres",
    ),
    bug(
        "attempts_counted_at_the_end",
        "procrastinate: a job that kills its worker never counts one",
        Edit(f"{ORM}/sqlite.py", "min(r.attempt + 1, ", "min(r.attempt, "),
        tests="tests/queues/test_sqlite.py",
        k="p5",
    ),
    bug(
        "crashes_without_a_budget",
        "chancy: one more attempt is allowed with each recovery, so a crash loop never ends",
        Edit(f"{ORM}/settling.py", "crashes=min(lease.crashes + 1, MAX_SMALLINT)", "crashes=lease.crashes"),
        tests="tests/queues/test_sqlite.py",
        k="p5",
    ),
    bug(
        "exit_when_the_signal_lands",
        "django-tasks-db: SIGTERM between the claim and the run leaves the job running for ever",
        Edit(
            f"{WORKERS}/shutdown.py",
            "            self._worker.stop()  # first: from the next line on another signal may raise in here\n",
            "            os._exit(0)\n",
        ),
        Edit(f"{WORKERS}/shutdown.py", "import threading\n", "import os\nimport threading\n"),
        tests="tests/crash/test_sigterm.py",
        k="sqlite and 0",
    ),
    bug(
        "pop_then_register",
        "kombu, RQ, Huey: taken off the line, and held by nobody that could be found dead",
        Edit(f"{LUA}/exchange.lua", "in_pieces('SADD', held_key(worker), mine)\n", ""),
        tests="tests/queues/test_redis.py",
        k="p5 or p10",
        services="redis",
    ),
    bug(
        "promote_in_two_steps",
        "Sidekiq: removed from the delayed set, and pushed to the line afterwards",
        Edit(
            f"{ORM}/dialect.py",
            "            self.make_ready(due, now)\n"
            '            self.delete_ids(DELAYED, "job_id", (self.from_id(row[0]) for row in due))\n',
            '            self.delete_ids(DELAYED, "job_id", (self.from_id(row[0]) for row in due))\n'
            f"            self.{COMMIT}\n"
            '            failpoints.hit("promote.before_commit")\n'
            "            self.make_ready(due, now)\n",
        ),
        Edit(
            f"{ORM}/dialect.py",
            "from django_jobqueue.jobs.payload import JobPayload\n",
            "from django_jobqueue import failpoints\nfrom django_jobqueue.jobs.payload import JobPayload\n",
        ),
        tests="tests/crash/test_matrix.py",
        k="dies_while_a_job_becomes_due and sqlite",
    ),
    bug(
        "requeue_in_two_steps",
        "RQ: taken out of the failed jobs, and pushed afterwards",
        Edit(
            "django_jobqueue/lifecycle/dead_letters.py",
            "        letters_of(queue).filter(pk__in=list(payloads)).delete()\n        for payload, given",
            "        letters_of(queue).filter(pk__in=list(payloads)).delete()\n"
            "        from django.db import connections\n"
            f"        connections[queue.database].{COMMIT}\n"
            '        failpoints.hit("revive.before_commit")\n'
            "        for payload, given",
        ),
        tests="tests/crash/test_matrix.py",
        k="an_operator_dies and before_commit and sqlite",
    ),
    bug(
        "bury_in_two_steps",
        "the failed job is stored, and the running one deleted afterwards: a crash leaves both",
        Edit(
            f"{ORM}/settling.py",
            '        failpoints.hit("settle.half_written")\n        for job_id, values in self._dead:\n'
            "            dialect.bury(job_id, values)\n",
            "        for job_id, values in self._dead:\n            dialect.bury(job_id, values)\n"
            f"            dialect.{COMMIT}\n"
            '        failpoints.hit("settle.half_written")\n',
        ),
        tests="tests/crash/test_matrix.py",
        k="test_a_worker_dies and half_written-doomed and sqlite",
    ),
    bug(
        "payload_rewritten_by_lua",
        "Sidekiq Pro (cjson): an empty list comes out as an empty object",
        Edit(
            f"{LUA}/push_one.lua",
            ".. string.sub(ARGV[1], rest))",
            ".. (string.gsub(string.sub(ARGV[1], rest), '%[%]', '{}')))",
        ),
        Edit(
            f"{LUA}/push.lua",
            ".. numbered(job)",
            ".. (string.gsub(numbered(job), '%[%]', '{}'))",
        ),
        tests="tests/queues/test_redis.py",
        k="p1",
        services="redis",
    ),
    bug(
        "leases_by_the_clients_clock",
        "Dramatiq, kombu: a worker whose clock is wrong loses its jobs, or keeps them for ever",
        Edit(
            f"{ORM}/queue.py",
            "        dialect = self._dialect()\n        now = dialect.now()\n        alive =",
            "        dialect = self._dialect()\n        now = timezone.now()\n        alive =",
        ),
        Edit(
            f"{ORM}/queue.py",
            "from django.utils.module_loading import import_string\n",
            "from django.utils import timezone\nfrom django.utils.module_loading import import_string\n",
        ),
        tests="tests/test_architecture.py",
        k="clock",
    ),
    bug(
        "stored_names_are_imported",
        "django-tasks-db, Airflow (CVE-2026-45360): a name from the store is imported",
        Edit(
            "django_jobqueue/jobs/registry.py",
            "    except KeyError:\n        raise UnknownTask(",
            "    except KeyError:\n"
            "        from django.utils.module_loading import import_string\n"
            "        try:\n"
            "            return TaskDefinition(name, import_string(name), None)\n"
            "        except ImportError:\n"
            "            pass\n"
            "        raise UnknownTask(",
        ),
        tests="tests/workers/test_executor.py",
        k="unknown_task",
    ),
    bug(
        "unknown_tasks_are_discarded",
        "Celery: ignored and discarded",
        Edit(
            f"{WORKERS}/executor.py",
            "        settlement = outcomes.not_runnable(reservation, problem)\n",
            '        settlement = outcomes.completed(reservation, "", outcomes.Timing())\n',
        ),
        tests="tests/workers/test_executor.py",
        k="unknown_task",
    ),
    bug(
        "cancel_whatever_it_does",
        "a running job is cancelled as if it waited, and completes all the same",
        Edit(f"{LUA}/cancel.lua", "if not job or job.state.room == LEASED then", "if not job then"),
        tests="tests/queues/test_redis.py",
        k="p8",
        services="redis",
    ),
    bug(
        "again_on_a_dead_connection",
        "authentik #21577: the acknowledgement is retried on the connection that has died",
        Edit(
            f"{WORKERS}/hygiene.py",
            "def close_connections() -> None:\n",
            "def close_connections() -> None:\n    return\n\n\ndef _close_connections() -> None:\n",
        ),
        tests="tests/crash/test_lives.py",
        k="listens_again",
        services="postgres",
    ),
    bug(
        "fork_with_an_open_connection",
        "django-rq, procrastinate: parent and child share a socket, and read each other's answers",
        Edit(
            f"{WORKERS}/hygiene.py",
            "def close_before_fork() -> None:\n",
            "def close_before_fork() -> None:\n    return\n\n\ndef _close_before_fork() -> None:\n",
        ),
        tests="tests/workers/test_supervisor.py",
        k="no_thread_and_no_socket and postgres",
        services="postgres",
    ),
    bug(
        "keys_in_the_hot_path",
        "Dramatiq: KEYS walks through the whole server, at each call",
        Edit(
            f"{LUA}/exchange.lua", "local now = clock()\n", "local now = clock()\nredis.call('KEYS', P .. 'line:*')\n"
        ),
        tests="tests/queues/test_redis_acl.py",
        k="no_more",
    ),
    bug(
        "payload_decoded_by_the_claim",
        "kombu #2421, delayed_job #1173: one row nobody can decode stops the queue",
        Edit(f"{ORM}/sqlite.py", "if any(row[6] is None for", "if any(row[6] is None or not json.loads(row[8]) for"),
        tests="tests/queues/test_sqlite.py",
        k="never_decodes",
    ),
    bug(
        "heartbeat_behind_the_jobs_gil",
        "Dramatiq #692, BullMQ: a job that computes loses its lease",
        Edit(f"{WORKERS}/heart.py", "        if is_frozen(slot.pid):  # its jobs", "        if True:  # its jobs"),
        tests="tests/workers/test_supervisor.py",
        k="never_lets_go_of_the_gil and keeps",
    ),
    bug(
        "markup_of_strangers",
        "Resque #1946, Sidekiq Web: what is stored becomes part of the page",
        Edit(
            "django_jobqueue/admin/dead_letters.py",
            "return format_html('{}<span class=\"jq-args\">{}</span>', widgets.task_name(obj.task), preview)",
            "return mark_safe(f'{obj.task}<span class=\"jq-args\">{preview}</span>')",
        ),
        Edit(
            "django_jobqueue/admin/dead_letters.py",
            "from django.utils.html import format_html\n",
            "from django.utils.html import format_html\nfrom django.utils.safestring import mark_safe\n",
        ),
        tests="tests/admin/test_pages.py",
        k="xss",
    ),
]
