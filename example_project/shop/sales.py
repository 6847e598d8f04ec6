"""What was sold, in three stages: collected, made a report, sent. Each leaves a file that the next one takes up.

A stage may run twice: it writes the same file again, and the letter has the same Message-ID.
"""

from __future__ import annotations

import json
from pathlib import Path

from django.conf import settings
from django.core.mail import EmailMessage
from django.db.models import Sum

from shop.models import OrderLine

READERS = ("owner@shop.example", "buyer@shop.example")
MOST = 10


class NotThereYet(Exception):
    """The stage before has not left its file."""


def collect(day: str) -> int:
    """How many of each product; the number of products."""
    sold = OrderLine.objects.values_list("product__sku", "product__name").annotate(Sum("quantity"))
    rows = sorted(([*row] for row in sold), key=lambda row: (-row[2], row[0]))
    _write(day, "json", json.dumps(rows))
    return len(rows)


def report(day: str) -> str:
    """The products that sold best; the first of them."""
    rows = json.loads(_read(day, "json"))[:MOST]
    _write(day, "txt", "".join(f"{count:6,} {name} ({sku})\n" for sku, name, count in rows))
    return str(rows[0][0]) if rows else ""


def letters(day: str) -> list[EmailMessage]:
    text = _read(day, "txt")
    return [
        EmailMessage(
            subject=f"Sold best until {day}",
            body=text,
            from_email="sales@shop.example",
            to=[reader],
            headers={"Message-ID": f"<sales-{day}-{reader}>"},
        )
        for reader in READERS
    ]


def _file(day: str, kind: str) -> Path:
    return Path(settings.VAR_DIR) / "sales" / f"{day}.{kind}"


def _read(day: str, kind: str) -> str:
    try:
        return _file(day, kind).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotThereYet(f"sales of {day}: there is no {kind} yet") from None


def _write(day: str, kind: str, text: str) -> None:
    """Whole or not at all: the next stage may look at any moment."""
    file = _file(day, kind)
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(f".{kind}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)
