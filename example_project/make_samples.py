"""Draws and writes everything in `samples/`. Seeded: it makes the same files every time.

    python example_project/make_samples.py [folder]

Some of it is broken on purpose. `expected.json` says how much, so that the demo can check its books against the input
and not against itself.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFilter, ImageOps

SAMPLES = Path(__file__).resolve().parent / "samples"
SEED = 2026
LINES = 3_000
FIELDS = ["order", "placed_on", "customer", "email", "currency", "sku", "quantity", "unit_price"]
RATES = {"GBP": "0.8412", "USD": "1.0874", "CHF": "0.9391"}
CURRENCIES = ["EUR", *RATES]
Row = dict[str, str]


class Product(NamedTuple):
    sku: str
    name: str
    price: Decimal
    picture: str = ""
    form: str = ""
    size: tuple[int, int] = (0, 0)


CATALOGUE = [
    Product("MUG-01", "Enamel mug", Decimal("12.90"), "mug.jpg", "mug", (2000, 1500)),
    Product("BWL-02", "Stoneware bowl", Decimal("18.50"), "bowl.jpg", "plate", (2400, 1600)),
    Product("LMP-03", "Desk lamp", Decimal("64.00"), "lamp.jpg", "lamp", (1600, 2200)),
    Product("CLK-04", "Wall clock", Decimal("39.90"), "clock.png", "clock", (1800, 1800)),
    Product("VAS-05", "Glass vase", Decimal("27.00"), "vase.jpg", "vase", (1600, 2000)),
    Product("RUG-06", "Cotton rug", Decimal("89.00"), "rug.png", "board", (2400, 1600)),
    Product("CUP-07", "Espresso cup", Decimal("9.80"), "cup.jpg", "mug", (2200, 1650)),
    Product("PLT-08", "Dinner plate", Decimal("14.20"), "plate.jpg", "plate", (2000, 2000)),
    Product("BOX-09", "Bread box", Decimal("45.00"), "box.png", "board", (2100, 1400)),
    Product("TEA-10", "Teapot", Decimal("52.30"), "teapot.jpg", "teapot", (2400, 1800)),
    Product("BRD-11", "Cutting board", Decimal("31.75"), "board.jpg", "board", (2400, 1350)),
    Product("CND-12", "Candle holder", Decimal("16.40"), "candle.jpg", "lamp", (1650, 2200)),
    Product("JAR-13", "Storage jar", Decimal("11.60"), "jar.jpg", "vase", (1700, 2100)),
    Product("NAP-14", "Linen napkin", Decimal("7.25")),
    Product("SPN-15", "Wooden spoon", Decimal("5.40")),
    Product("APR-16", "Apron", Decimal("24.00")),
]
TRUNCATED = "jar.jpg"  # its upload was cut off

# the n-th order that was placed, from 0 -> what is wrong with it
BROKEN_ORDERS = {
    41: "price",
    212: "price",
    397: "price",
    655: "price",
    901: "price",
    118: "date",
    733: "date",
    530: "cut off",
    77: "unknown product",
    480: "unknown product",
    1010: "unknown product",
    150: "negative",
    366: "negative",
    611: "negative",
    980: "negative",
}
SLOW_MAILBOXES = {25, 300, 820}  # the mail server answers "try again later" twice
NO_MAILBOX = {190, 700}  # and here it says that nobody lives there


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    random = Random(SEED)
    orders = [list(order) for order in make_orders(random)]
    write_csv(folder / "orders.csv", FIELDS, [row for order in orders for row in order])
    write_csv(
        folder / "products.csv",
        ["sku", "name", "price", "picture"],
        [{"sku": p.sku, "name": p.name, "price": str(p.price), "picture": p.picture} for p in CATALOGUE],
    )
    write_json(folder / "rates.json", {"base": "EUR", "rates": RATES})
    write_json(folder / "expected.json", expected(orders))
    (folder / "pictures").mkdir(exist_ok=True)
    for number, product in enumerate(product for product in CATALOGUE if product.picture):
        (folder / "pictures" / product.picture).write_bytes(picture(product, Random(SEED + number)))


# orders


def make_orders(random: Random) -> Iterator[list[Row]]:
    lines = number = 0
    while lines < LINES:
        order = make_order(random, number, min(random.choice([1, 1, 2, 2, 3, 4, 5]), LINES - lines))
        yield order
        number += 1
        lines += len(order)


def make_order(random: Random, number: int, lines: int) -> list[Row]:
    customer = f"{random.choice(FIRST)} {random.choice(SECOND)} {random.choice(THIRD)}"
    common = {
        "order": str(10_001 + number),
        "placed_on": str(date(2026, 3, 2) + timedelta(days=number // 40)),
        "customer": customer,
        "email": address(number, customer),
        "currency": random.choices(CURRENCIES, [6, 2, 2, 1])[0],
    }
    rows = [
        common | {"sku": p.sku, "quantity": str(random.randint(1, 12)), "unit_price": str(p.price)}
        for p in random.sample(CATALOGUE, lines)
    ]
    return damage(rows, BROKEN_ORDERS.get(number, ""))


FIRST = ["North", "Blue", "Old", "Green", "Little", "Silver", "River", "High", "Amber", "West"]
SECOND = ["Mill", "Harbour", "Bridge", "Garden", "Station", "Market", "Orchard", "Lantern"]
THIRD = ["Bakery", "Bistro", "Books", "Café", "Hotel", "Kitchen", "Studio", "Tea Room"]


def address(number: int, customer: str) -> str:
    name = customer.lower().replace(" ", "-").replace("é", "e")
    if number in SLOW_MAILBOXES:
        return f"{name}-{number}@greylisting.example"
    if number in NO_MAILBOX:
        return f"{name}-{number}@nobody.example"
    return f"orders@{name}.example"


def damage(rows: list[Row], fault: str) -> list[Row]:
    last = rows[-1]
    if fault == "price":
        last["unit_price"] = last["unit_price"].replace(".", ",")
    elif fault == "date":
        for row in rows:
            row["placed_on"] = "31.02.2026"
    elif fault == "cut off":
        del last["quantity"], last["unit_price"]
    elif fault == "unknown product":
        last["sku"] = "OLD-99"
    elif fault == "negative":
        last["quantity"] = f"-{last['quantity']}"
    return rows


def expected(orders: list[list[Row]]) -> dict[str, object]:
    pictures = sum(bool(product.picture) for product in CATALOGUE)
    return {
        "lines": sum(map(len, orders)),
        "orders": len(orders),
        "broken_orders": dict(sorted(Counter(BROKEN_ORDERS.values()).items())),
        "slow_mailboxes": len(SLOW_MAILBOXES),
        "no_mailbox": len(NO_MAILBOX),
        "pictures": pictures,
        "broken_pictures": 1,
        "rates": len(RATES),
    }


def write_csv(path: Path, fields: list[str], rows: list[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(fields)
        lines.writerows(row.values() for row in rows)  # a row that is cut off is short


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


# pictures


def picture(product: Product, random: Random) -> bytes:
    image = draw(product, random)
    file = io.BytesIO()
    if product.picture.endswith(".png"):
        # few colours: a drawing, as a designer would upload it
        image.quantize(48, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    else:
        image.save(file, "JPEG", quality=92)
    data = file.getvalue()
    return data[: len(data) * 2 // 5] if product.picture == TRUNCATED else data


def draw(product: Product, random: Random) -> Image.Image:
    """A thing on a table: background, pattern, shadow, and a shaded body."""
    size = product.size
    hue = random.randrange(360)
    image = gradient(size, f"hsl({hue}, 30%, 88%)", f"hsl({hue}, 35%, 62%)", 0)
    pattern(image, hue, random)
    body = shape(product.form, size, random)
    shadow = body.filter(ImageFilter.GaussianBlur(size[0] / 40))
    image.paste(f"hsl({hue}, 40%, 25%)", (size[0] // 60, size[1] // 25), shadow.point(lambda value: value // 2))
    other = (hue + random.choice([150, 180, 210])) % 360
    image.paste(gradient(size, f"hsl({other}, 70%, 70%)", f"hsl({other}, 75%, 32%)", 90), (0, 0), body)
    return image


def gradient(size: tuple[int, int], first: str, last: str, turned: int) -> Image.Image:
    ramp = Image.linear_gradient("L").rotate(turned).resize(size, Image.Resampling.BICUBIC)
    return ImageOps.colorize(ramp, first, last)


def pattern(image: Image.Image, hue: int, random: Random) -> None:
    pen = ImageDraw.Draw(image)
    width, height = image.size
    for _ in range(260):
        x, y, r = random.randrange(width), random.randrange(height), random.randrange(6, 46)
        pen.ellipse((x - r, y - r, x + r, y + r), outline=f"hsl({hue}, 45%, {random.randrange(55, 80)}%)", width=5)


def shape(form: str, size: tuple[int, int], random: Random) -> Image.Image:
    """Where the thing is, as a mask. Its parts are given in hundredths of the picture."""
    mask = Image.new("L", size)
    pen = ImageDraw.Draw(mask)
    centre, scale = (size[0] / 2, size[1] / 2), min(size) / 100
    for part, left, top, right, bottom, value in FORMS[form]:
        wobble = random.uniform(0.94, 1.06)
        box = tuple(
            middle + offset * scale * wobble
            for middle, offset in zip(centre * 2, (left, top, right, bottom), strict=True)
        )
        if part == "box":
            pen.rounded_rectangle(box, radius=7 * scale, fill=value)
        elif part == "ring":
            pen.ellipse(box, outline=value, width=int(4 * scale))
        else:
            pen.ellipse(box, fill=value)
    return mask


# part, left, top, right, bottom (hundredths of the shorter side, from the middle), how solid (0 to 255)
FORMS = {
    "mug": [("box", -26, -24, 20, 32, 255), ("oval", -26, -30, 20, -16, 255), ("ring", 14, -14, 36, 20, 255)],
    "plate": [("oval", -38, -38, 38, 38, 255), ("ring", -27, -27, 27, 27, 150)],
    "clock": [
        ("oval", -36, -36, 36, 36, 255),
        ("ring", -33, -33, 33, 33, 140),
        ("box", -2, -26, 2, 3, 90),
        ("box", -3, -2, 20, 2, 90),
    ],
    "vase": [("oval", -24, -10, 24, 38, 255), ("box", -9, -38, 9, 0, 255), ("oval", -14, -42, 14, -34, 255)],
    "lamp": [("oval", -24, 32, 24, 42, 255), ("box", -3, -10, 3, 38, 255), ("box", -30, -38, 30, -6, 255)],
    "board": [("box", -50, -22, 50, 22, 255), ("oval", 36, -5, 46, 5, 0)],
    "teapot": [
        ("ring", 22, -18, 46, 18, 255),
        ("oval", -34, -22, 34, 32, 255),
        ("box", -48, -12, -24, 0, 255),
        ("oval", -14, -28, 14, -18, 255),
        ("oval", -4, -36, 4, -27, 255),
    ],
}


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES)
