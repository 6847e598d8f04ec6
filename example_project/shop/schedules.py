"""What the shop does by itself, and when. Found by autodiscovery; `manage.py scheduler_status` shows it.

The sales report is a pipeline: three stages at three times. What a stage needs and does not find yet it waits for, by
being retried, and after an hour it is a dead letter that somebody is told of. So a stage that takes long moves those
after it, and one that fails stops them.
"""

from __future__ import annotations

from django_jobqueue import cron, every
from shop.tasks import collect_sales, fetch_rate, report_sales, send_sales, watch_queue

BERLIN = "Europe/Berlin"

SCHEDULES = {
    "sales 1: collect": {"task": collect_sales, "schedule": cron("0 6 * * 1-5", timezone=BERLIN)},
    "sales 2: report": {"task": report_sales, "schedule": cron("15 6 * * 1-5", timezone=BERLIN)},
    "sales 3: send": {"task": send_sales, "schedule": cron("30 6 * * 1-5", timezone=BERLIN)},
    "rate of the dollar": {
        "task": fetch_rate,
        "kwargs": {"currency": "USD"},
        "schedule": every(hours=4),
        "jitter": 600,  # not all the world's shops at the full hour
        "overlap": "skip",
    },
    "watch the queue": {"task": watch_queue, "schedule": every(minutes=10), "misfire": "skip"},
}
