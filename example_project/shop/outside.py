"""The world outside: a mail server and a rate feed that are as moody as real ones, so that there is something to retry.

They remember in var/outside how often they were asked, because a worker's memory ends with the worker.
"""

from __future__ import annotations

import asyncio
import json
import re
from decimal import Decimal
from smtplib import SMTPRecipientsRefused, SMTPResponseException
from typing import Any

from django.conf import settings
from django.core.mail.backends.filebased import EmailBackend


class MailServer(EmailBackend):
    """Writes mail into files. Greylists one domain, as spam filters do, and knows nobody at another."""

    def send_messages(self, email_messages: Any) -> int | None:
        for message in email_messages:
            for recipient in message.recipients():
                self.greet(recipient)
        return super().send_messages(email_messages)

    def greet(self, recipient: str) -> None:
        if recipient.endswith("@greylisting.example") and times_asked(recipient) < 3:
            raise SMTPResponseException(451, b"4.7.1 greylisted, please try again later")
        if recipient.endswith("@nobody.example"):
            raise SMTPRecipientsRefused({recipient: (550, b"5.1.1 no such mailbox")})


class Busy(Exception):
    """The feed wants to be asked again, but not before `retry_after` seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"429 too many requests, retry after {retry_after:g} s")
        self.retry_after = retry_after


async def rate_of(currency: str) -> Decimal:
    """What the feed says one euro is worth. Raises `Busy`, the first time it is asked for dollars."""
    if currency == "USD" and await asyncio.to_thread(times_asked, "rate-of-USD") < 2:
        raise Busy(retry_after=1.5)
    text = await asyncio.to_thread((settings.SAMPLES_DIR / "rates.json").read_text)
    return Decimal(json.loads(text)["rates"][currency])


def times_asked(what: str) -> int:
    """How often this was called with `what`, this time included."""
    folder = settings.VAR_DIR / "outside"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / re.sub(r"[^\w.-]", "_", what)).open("ab") as file:
        file.write(b".")
        return file.tell()
