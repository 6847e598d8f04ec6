"""Typed jobs of the API tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any, ClassVar
from uuid import UUID

from django_jobqueue import FixedDelays, Job, NoRetry

SEEN: list[Any] = []


class Colour(Enum):
    RED = "r"
    BLUE = 2


class Size(StrEnum):
    SMALL = "s"


class Level(IntEnum):
    HIGH = 3


@dataclass(frozen=True)
class Line:
    sku: str
    price: Decimal
    ordered: date | None = None


class Everything(Job):
    when: datetime
    day: date
    hour: time
    span: timedelta
    amount: Decimal
    key: UUID
    colour: Colour
    size: Size
    level: Level
    line: Line
    blob: bytes
    lines: list[Line] = field(default_factory=list)
    prices: dict[str, Decimal] = field(default_factory=dict)
    either: UUID | date | None = None

    def handle(self, context: Any) -> None:
        SEEN.append((self, context))


class SendInvoice(Job, queue_name="emails", priority="high", timeout=20, retry=FixedDelays([60, 300])):
    """Mail one invoice."""

    currencies: ClassVar[tuple[str, ...]] = ("EUR",)

    invoice_id: int
    amount: Decimal = Decimal(1)
    total: int = field(init=False, default=0)

    def handle(self, context: Any) -> dict[str, Any]:
        SEEN.append((self, context))
        return {"invoice": self.invoice_id, "attempt": context.attempt}


class Greeting(Job, abstract=True):
    name: str

    def handle(self, context: Any) -> str:
        return f"{self.word()} {self.name}"

    def word(self) -> str:
        raise NotImplementedError


class Hello(Greeting):
    loud: bool = False

    def word(self) -> str:
        return "HELLO" if self.loud else "hello"


class GoodBye(Greeting, name="greetings.bye", retry=NoRetry()):
    def word(self) -> str:
        return "good bye"


class Unfinished(Job, retry=NoRetry()):
    pass


class Strict(Job, retry=NoRetry()):
    number: int

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError("negative")

    def handle(self, context: Any) -> int:
        return self.number
