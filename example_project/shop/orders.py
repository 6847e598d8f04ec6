"""Orders: from the lines of a CSV file to rows. No job in here, only what jobs call."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from itertools import groupby
from pathlib import Path

from shop.models import Order, OrderLine, Product

Row = dict[str, str]


class InvalidOrder(ValueError):
    """The text can't be read as an order. Reading it again would change nothing."""


@dataclass(frozen=True)
class Line:
    sku: str
    quantity: int
    unit_price: Decimal


@dataclass(frozen=True)
class ParsedOrder:
    number: str
    placed_on: date
    customer: str
    email: str
    currency: str
    lines: list[Line]

    @property
    def total(self) -> Decimal:
        return sum((line.quantity * line.unit_price for line in self.lines), Decimal())


def read(path: Path) -> Iterator[tuple[str, list[Row]]]:
    """Each order's number and lines, as text: what is wrong with one order is no reason not to read the next."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, restkey="surplus", restval="")
        for number, lines in groupby(rows, key=lambda row: row["order"]):
            yield number, list(lines)


def parse(number: str, rows: list[Row]) -> ParsedOrder:
    """Raises `InvalidOrder`, naming the line and what was found there."""
    lines = []
    for position, row in enumerate(rows, start=1):
        try:
            lines.append(Line(row["sku"], int(row["quantity"]), Decimal(row["unit_price"])))
        except (ValueError, InvalidOperation):
            found = f"quantity {row['quantity']!r}, unit price {row['unit_price']!r}"
            raise InvalidOrder(f"order {number}, line {position}: {found}") from None
    first = rows[0]
    try:
        placed_on = date.fromisoformat(first["placed_on"])
    except ValueError:
        raise InvalidOrder(f"order {number}: no such date as {first['placed_on']!r}") from None
    return ParsedOrder(number, placed_on, first["customer"], first["email"], first["currency"], lines)


def save(parsed: ParsedOrder) -> Order:
    """Write an order, or write it again. Raises `Product.DoesNotExist`. Belongs in a transaction."""
    products = {product.sku: product for product in Product.objects.filter(sku__in=[line.sku for line in parsed.lines])}
    for line in parsed.lines:
        if line.sku not in products:
            raise Product.DoesNotExist(f"order {parsed.number} wants {line.sku}, which is not in the catalogue (yet?)")
    order, _ = Order.objects.update_or_create(
        number=parsed.number,
        defaults={
            "placed_on": parsed.placed_on,
            "customer": parsed.customer,
            "email": parsed.email,
            "currency": parsed.currency,
            "total": parsed.total,
        },
    )
    OrderLine.objects.bulk_create(
        [
            OrderLine(order=order, product=products[line.sku], quantity=line.quantity, unit_price=line.unit_price)
            for line in parsed.lines
        ],
        update_conflicts=True,
        unique_fields=["order", "product"],
        update_fields=["quantity", "unit_price"],
    )
    return order
