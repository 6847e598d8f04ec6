"""Typed jobs: fields of any type on the way in, the same values in `handle`."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from smtplib import SMTPRecipientsRefused
from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string
from django.utils import timezone

from django_jobqueue import FixedDelays, Job
from shop.models import Invoice, Order


class SendInvoice(
    Job,
    backend=settings.FAST,
    queue_name="billing",
    # Greylisting takes minutes in earnest: FixedDelays([60, 300, 1800]). A refused mailbox is not asked again.
    retry=FixedDelays([0.5, 1, 2], never=(SMTPRecipientsRefused,)),
):
    """Render an order's invoice and mail it."""

    order_number: str
    amount: Decimal
    due: date

    def handle(self, context: Any) -> dict[str, Any]:
        order = Order.objects.get(number=self.order_number)
        invoice, _ = Invoice.objects.update_or_create(order=order, defaults={"amount": self.amount, "due": self.due})
        if invoice.mailed_at:  # we were here before, and went away before we could say so
            return {"invoice": invoice.number, "mailed": "before"}
        invoice_mail(invoice).send()
        invoice.mailed_at = timezone.now()
        invoice.save(update_fields=["mailed_at"])
        return {"invoice": invoice.number, "mailed": "now", "attempt": context.attempt}


def invoice_mail(invoice: Invoice) -> EmailMultiAlternatives:
    """The letter. A crash between sending and saving sends it twice; its Message-ID lets the other side notice."""
    values = {"invoice": invoice, "order": invoice.order, "lines": invoice.order.lines.select_related("product")}
    mail = EmailMultiAlternatives(
        subject=f"Your invoice {invoice.number}",
        body=render_to_string("shop/invoice.txt", values),
        from_email="billing@shop.example",
        to=[invoice.order.email],
        headers={"Message-ID": f"<{invoice.number}@shop.example>"},
    )
    mail.attach_alternative(render_to_string("shop/invoice.html", values), "text/html")
    return mail
