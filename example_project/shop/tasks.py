"""The shop's tasks. Found by autodiscovery, like jobs.py.

Delays between attempts are a second or two, because nobody wants to watch a demo for half an hour.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Sum
from django.utils import timezone

from django_jobqueue import Discard, ExponentialBackoff, FixedDelays, Retry, Snooze, task
from shop import orders, outside, pictures, sales, stores
from shop.jobs import SendInvoice
from shop.models import ExchangeRate, Order, Picture

DAYS_TO_PAY = 14
LARGE_ORDER = Decimal(1_500)


@task(queue_name="orders", priority="high")
def import_orders(path: str) -> dict[str, int]:
    """Read a file of orders and enqueue one job for each, so that a broken one stops nobody else."""
    calls = [{"number": number, "rows": rows} for number, rows in orders.read(Path(path))]
    import_order.enqueue_many(calls)
    return {"orders": len(calls)}


@task(queue_name="orders", retry=ExponentialBackoff(max_attempts=3, base=1, never=orders.InvalidOrder))
def import_order(number: str, rows: list[dict[str, str]]) -> dict[str, str]:
    """Store one order, and have its invoice sent. Either both happen or none: the enqueue is in the transaction.

    So it is when the invoice's job goes to Redis: it is written down in the database, and delivered after the commit.
    """
    parsed = orders.parse(number, rows)
    for line in parsed.lines:
        if line.quantity < 1:
            raise Discard(f"order {number}: {line.quantity} of {line.sku} is a refund, and those are booked by hand")
    with transaction.atomic():
        order = orders.save(parsed)
        invoice = SendInvoice(number, amount=order.total, due=order.placed_on + timedelta(days=DAYS_TO_PAY))
        priority = "high" if order.total >= LARGE_ORDER else "normal"
        invoice.using(unique_key=f"invoice-{number}", priority=priority).enqueue()
    return {"total": f"{order.total} {order.currency}"}


@task(backend=settings.FAST, queue_name="pictures", priority="low", retry=FixedDelays([1, 2]))
def make_thumbnail(picture_id: int) -> dict[str, int]:
    """Shrink a product's picture. An upload that is still arriving looks truncated, so that is tried again."""
    picture = Picture.objects.get(pk=picture_id)
    upload = settings.SAMPLES_DIR / "pictures" / picture.upload
    thumbnail = pictures.shrink(upload, picture.upload)
    saved = {
        "upload_bytes": upload.stat().st_size,
        "thumbnail_bytes": (Path(settings.MEDIA_ROOT) / thumbnail).stat().st_size,
    }
    Picture.objects.filter(pk=picture_id).update(thumbnail=thumbnail, **saved)
    return saved


@task
async def fetch_rate(currency: str) -> dict[str, str]:
    """Ask the feed what a euro is worth. When it says how long to wait, that long we wait."""
    try:
        rate = await outside.rate_of(currency)
    except outside.Busy as busy:
        raise Retry(in_=busy.retry_after, reason=str(busy)) from None
    await ExchangeRate.objects.aupdate_or_create(currency=currency, defaults={"rate": rate})
    return {currency: str(rate)}


@task(priority="low")
def write_report() -> dict[str, str]:
    """What was sold, in euros. Not before every order is in: until then it looks again each second."""
    if stores.live_jobs("orders") + stores.live_jobs("billing"):
        raise Snooze(1)
    rates = {"EUR": Decimal(1), **dict(ExchangeRate.objects.values_list("currency", "rate"))}
    sold = Order.objects.values_list("currency").annotate(Count("pk"), Sum("total")).order_by("currency")
    lines = [f"{currency} {count:6,} orders {total:12,.2f}" for currency, count, total in sold]
    euros = sum((total / rates[currency] for currency, _, total in sold), Decimal())
    report = settings.VAR_DIR / "report.txt"
    report.write_text("\n".join([*lines, f"in EUR {euros:,.2f}", ""]), encoding="utf-8")
    return {"sold": f"{euros:,.2f} EUR"}


# The sales report, in stages; schedules.py says when. In earnest: FixedDelays([60] * 60).
LATER = FixedDelays([1] * 600, only=sales.NotThereYet)


@task(priority="low", retry=LATER)
def collect_sales(day: str = "") -> dict[str, int]:
    """The first stage. Not before every order is in."""
    if stores.live_jobs("orders"):
        raise sales.NotThereYet("orders are still being imported")
    return {"products": sales.collect(day or today())}


@task(priority="low", retry=LATER)
def report_sales(day: str = "") -> dict[str, str]:
    """The second one, of what the first has left."""
    return {"sold best": sales.report(day or today())}


@task(priority="low", retry=LATER)
def send_sales(day: str = "") -> dict[str, int]:
    """And the last."""
    return {"sent": sum(letter.send() for letter in sales.letters(day or today()))}


def today() -> str:
    return timezone.localdate().isoformat()


@task
def watch_queue() -> dict[str, int]:
    """How much there is to do, for whoever wants to draw it."""
    waiting = stores.live_jobs()
    with (settings.VAR_DIR / "queue.csv").open("a", encoding="utf-8") as file:
        file.write(f"{timezone.now():%Y-%m-%d %H:%M:%S},{waiting}\n")
    return {"live": waiting}


@task(backend=settings.FAST, queue_name="billing")
def remind(order_number: str) -> dict[str, Any]:
    """Two weeks later: has it been paid? Cancelled when it has, so in the demo it never runs."""
    return {"reminded": order_number}
