"""No page of ours counts a big table to the end, however it is filtered: told by the SQL it sends."""

from __future__ import annotations

import html
import re
from datetime import timedelta

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobqueue.admin import paginator, reach
from django_jobqueue.admin.filters import distinct_values
from django_jobqueue.admin.paginator import CappedPaginator, RoughCount
from django_jobqueue.models import DeadLetterJob, JobHistory, JobPriority
from django_jobqueue.queues.base import WorkerIdentity
from tests.admin.conftest import push, url
from tests.lifecycle.letters import ADD, die, write_history, write_letter

pytestmark = pytest.mark.django_db

LISTS = [
    "job",
    "job?room=ready",
    "job?room=delayed",
    "job?room=running",
    "job?queue=default",
    f"job?task={ADD}",
    "job?q=add",
    "jobhistory",
    "jobhistory?outcome__exact=failed",
    "jobhistory?queue=default",
    "jobhistory?q=nothing",
    "deadletterjob",
    "deadletterjob?queue=default",
    f"deadletterjob?task={ADD}&error_class=builtins.ValueError",
    "deadletterjob?reason__exact=exhausted",
    "deadletterjob?q=boom",
    "workerprocess",
]


def statements(client, address):
    with CaptureQueriesContext(connections["default"]) as captured:
        assert client.get(address).status_code == 200
    return [query["sql"] for query in captured]


@pytest.fixture
def some_of_each(queue):
    ContentType.objects.clear_cache()
    die(queue)
    push(queue)
    push(queue, delay=60)
    queue.join(WorkerIdentity())


@pytest.mark.parametrize("listing", LISTS)
def test_nothing_is_counted_or_read_without_a_limit(as_boss, some_of_each, listing):
    name, _, query = listing.partition("?")
    for sql in statements(as_boss, f"{url(name)}?{query}"):
        if "jobqueue_" not in sql:
            continue
        assert "GROUP BY" not in sql
        assert "DISTINCT" not in sql
        if re.search(r"\bCOUNT\(", sql):
            assert "LIMIT 10001" in sql
            assert "ORDER BY" not in sql
        elif "WITH RECURSIVE" not in sql:
            assert "LIMIT" in sql or " IN (" in sql, sql


@pytest.mark.parametrize("listing", ["job", "jobhistory", "deadletterjob"])
def test_a_page_asks_no_more_for_more_rows(queue, as_boss, listing, some_of_each):
    few = len(statements(as_boss, url(listing)))
    for _ in range(30):
        push(queue)
        write_letter()
        write_history()
    assert len(statements(as_boss, url(listing))) <= few + 1


@pytest.mark.parametrize(
    ("listing", "column"),
    [("job", "args"), ("jobhistory", "traceback"), ("jobhistory", "result"), ("deadletterjob", "traceback")],
)
def test_a_list_reads_no_wide_columns_whole(as_boss, some_of_each, listing, column):
    for sql in statements(as_boss, url(listing)):
        assert not re.search(rf'(?<!SUBSTR\()"jobqueue_\w+"\."{column}"(?!,? ?\d)', sql), sql


def test_counting_stops_at_the_cap(as_boss, monkeypatch):
    monkeypatch.setattr(paginator, "CAP", 20)
    for _ in range(30):
        write_history()
    response = as_boss.get(url("jobhistory"))
    assert response.context["cl"].result_count == 20
    assert "20+ history" in response.content.decode()
    assert CappedPaginator(JobHistory.objects.order_by("pk"), 10).num_pages == 2


@pytest.mark.parametrize(("listing", "field"), [("jobhistory", "finished_at"), ("deadletterjob", "failed_at")])
def test_a_search_that_no_index_helps_ends_and_says_how_to_go_on(as_boss, monkeypatch, listing, field):
    monkeypatch.setattr(reach, "REACH", 5)
    write = {"jobhistory": write_history, "deadletterjob": write_letter}[listing]
    start = timezone.now() - timedelta(days=1)
    for minute in range(12):
        write(task="rare.one" if minute < 2 else "common", **{field: start + timedelta(minutes=minute)})
    looked_at, address = 0, f"{url(listing)}?q=rare"
    while address:
        page = as_boss.get(address)
        looked_at += 1
        found = re.search(r'href="(\?[^"]*__lt=[^"]*)">Look further back', page.content.decode())
        address = f"{url(listing)}{html.unescape(found[1])}" if found else ""
    assert looked_at == 3, "5, 5 and 2 rows"
    assert {one.task for one in page.context["cl"].result_list} == {"rare.one"}
    assert page.context["cl"].result_count == 2


@pytest.mark.parametrize(
    "query", ["", "finished_at__gte=2001-01-01 00:00:00%2B00:00", "q=01890a5d-ac96-774b-bcce-b302099a8057"]
)
def test_what_an_index_finds_is_looked_for_everywhere(as_boss, monkeypatch, query):
    monkeypatch.setattr(reach, "REACH", 5)
    for _ in range(12):
        write_history()
    page = as_boss.get(f"{url('jobhistory')}?{query}")
    assert "Look further back" not in page.content.decode()
    assert page.context["cl"].edge is None


def test_live_jobs_are_searched_from_the_latest_on(queue, as_boss, monkeypatch):
    monkeypatch.setattr(reach, "REACH", 5)
    first = push(queue, task="rare.one")
    for _ in range(8):
        push(queue)
    page = as_boss.get(f"{url('job')}?q=rare").content.decode()
    further = html.unescape(re.search(r'href="(\?[^"]*__lt=[^"]*)">Look further back', page)[1])
    assert str(first) in as_boss.get(f"{url('job')}{further}").content.decode()
    assert str(first) in as_boss.get(f"{url('job')}?task=rare.one").content.decode(), "a filter looks everywhere"


def test_a_rough_count_reads_as_one(settings):
    rough = RoughCount(10_000)
    assert f"{rough} {rough + 1}" == "10,000+ 10001"
    rough.estimate = 1_234_567
    assert str(rough) == "~1,234,567"
    settings.USE_THOUSAND_SEPARATOR = True
    assert str(rough) == "10000"


@pytest.mark.django_db(databases=["default", "postgres"])
def test_postgres_tells_how_many_rows_it_believes_in(monkeypatch):
    monkeypatch.setattr(paginator, "CAP", 20)
    for _ in range(40):
        write_history("postgres")
    with connections["postgres"].cursor() as cursor:
        cursor.execute("ANALYZE jobqueue_job_history")
    rows = JobHistory.objects.using("postgres")
    assert str(CappedPaginator(rows.order_by("pk"), 10).count) == "~40"
    assert str(CappedPaginator(rows.filter(outcome="completed").order_by("pk"), 10).count) == "20+"


@pytest.mark.parametrize(
    "alias",
    [
        pytest.param("default", marks=pytest.mark.django_db(databases=["default"])),
        pytest.param("postgres", marks=pytest.mark.django_db(databases=["default", "postgres"])),
        pytest.param("mariadb", marks=pytest.mark.django_db(databases=["default", "mariadb"])),
    ],
)
def test_filters_find_their_choices_by_probes_of_an_index(alias):
    for queue in ("b", "a", "b", "ü", ""):
        write_letter(alias, queue=queue)
    assert sorted(distinct_values(DeadLetterJob, "queue", alias)) == ["", "a", "b", "ü"]
    assert len(distinct_values(DeadLetterJob, "queue", alias, limit=2)) == 2
    assert distinct_values(JobPriority, "queue", alias) == []


def test_the_summary_looks_at_the_latest_letters_only(as_boss, some_of_each):
    (sql,) = [sql for sql in statements(as_boss, url("deadletterjob")) if "LIMIT 10000" in sql and "COUNT" not in sql]
    assert "ORDER BY" in sql
