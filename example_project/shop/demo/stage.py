"""What the demo begins with: an empty shop with a catalogue, and a queue full of work."""

from __future__ import annotations

import csv
import shutil
from datetime import timedelta
from uuid import UUID

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.cache import caches
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone

from django_jobqueue import JobPayload, SchedulerService, at, every, get_queue
from django_jobqueue.models import WorkerProcess
from shop.models import ExchangeRate, Invoice, Order, OrderLine, Picture, Product
from shop.schedules import SCHEDULES
from shop.tasks import (
    collect_sales,
    fetch_rate,
    import_orders,
    make_thumbnail,
    remind,
    report_sales,
    send_sales,
    watch_queue,
    write_report,
)

USER = PASSWORD = "demo"
SHOP = [Invoice, OrderLine, Order, Picture, Product, ExchangeRate]


def reset() -> None:
    """Remove what an earlier demo left. Workers that are alive keep their row, so that they notice nothing."""
    reset_database()
    if "jobqueue" in settings.CACHES:
        reset_redis()
    shutil.rmtree(settings.VAR_DIR, ignore_errors=True)
    settings.VAR_DIR.mkdir(parents=True)


@transaction.atomic
def reset_database() -> None:
    for model in apps.get_app_config("django_jobqueue").get_models():
        if model is not WorkerProcess:
            model._default_manager.all().delete()
    WorkerProcess.objects.filter(state__in=[WorkerProcess.State.STOPPED, WorkerProcess.State.DEAD]).delete()
    for model in SHOP:
        model._default_manager.all().delete()


def reset_redis() -> None:
    """All keys of a store begin with its prefix in braces."""
    client = caches["jobqueue"].client.get_client(write=True)
    for key in client.scan_iter(f"{{{settings.PREFIX}}}:*", count=1_000):
        client.unlink(key)


def open_shop() -> None:
    """The catalogue, and somebody who may look at everything in the admin."""
    user, _ = get_user_model().objects.get_or_create(
        username=USER, defaults={"is_staff": True, "is_superuser": True, "email": "demo@shop.example"}
    )
    user.set_password(PASSWORD)
    user.save()
    with (settings.SAMPLES_DIR / "products.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            product = Product.objects.create(sku=row["sku"], name=row["name"], price=row["price"])
            if row["picture"]:
                Picture.objects.create(product=product, upload=row["picture"])


def enqueue_everything(currencies: list[str]) -> int:
    """Fill the queue; the number of jobs. Most of the work is enqueued later, by the first of them."""
    write_report.using(run_after=timedelta(seconds=2)).enqueue()
    pictures = [{"picture_id": pk} for pk in Picture.objects.values_list("pk", flat=True)]
    make_thumbnail.enqueue_many(pictures)
    fetch_rate.enqueue_many([[currency] for currency in currencies])
    import_orders.enqueue(path=str(settings.SAMPLES_DIR / "orders.csv"))
    leave_jobs_of_an_older_release()
    enqueue_and_think_better_of_it()
    return len(pictures) + len(currencies) + 5


def schedule_a_few() -> None:
    """Five ticks a second apart, and the stages of the sales report, all within the next seconds.

    What the shop has declared for its mornings is brought to the tables, and paused until the books are closed: they
    are to add up at six as well.
    """
    call_command("scheduler_run", "--once", verbosity=0)
    scheduler = SchedulerService()
    for name in SCHEDULES:
        scheduler.pause(name)
    first = timezone.now().replace(microsecond=0) + timedelta(seconds=3)
    watched = {"starts_at": first, "ends_at": first + timedelta(seconds=4), "grace": 600}
    scheduler.schedule("demo: watch the queue", watch_queue, every(seconds=1), **watched)
    for seconds, stage in ((0, collect_sales), (5, report_sales), (6, send_sales)):
        moment = first + timedelta(seconds=seconds)
        once = {"starts_at": moment, "ends_at": moment, "grace": 600}
        scheduler.schedule(f"demo: {stage.name}", stage, at(moment), kwargs={"day": f"{first:%Y-%m-%d}"}, **once)


def go_on_as_usual() -> None:
    """Whatever came of the demo, it leaves a shop whose schedules run."""
    for name in SCHEDULES:
        SchedulerService().resume(name)


def leave_jobs_of_an_older_release() -> None:
    """Deployed code changes while jobs wait: one asks for a task that is gone, one calls a task as it used to be."""
    get_queue().push(JobPayload.create("shop.tasks.wrap_gift", kwargs={"order_number": "10007"}, queue="orders"))
    get_queue(make_thumbnail.backend).push(
        JobPayload.create("shop.tasks.make_thumbnail", kwargs={"picture": "mug.jpg", "size": 480}, queue="pictures")
    )


def enqueue_and_think_better_of_it() -> None:
    """A reminder in two weeks is cancelled, because the money came."""
    reminder = remind.using(run_after=timedelta(days=14)).enqueue(order_number="10002")
    get_queue(reminder.backend).cancel(UUID(reminder.id))
