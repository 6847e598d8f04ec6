"""The shop's own pages. Their actions enqueue, as a view would."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from shop.jobs import SendInvoice
from shop.models import ExchangeRate, Invoice, Order, OrderLine, Picture, Product
from shop.tasks import make_thumbnail


class OrderLines(admin.TabularInline):
    model = OrderLine
    extra = 0


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ["number", "placed_on", "customer", "total", "currency"]
    list_filter = ["currency"]
    search_fields = ["number", "customer", "email"]
    inlines = [OrderLines]


@admin.register(Invoice)
class InvoiceAdmin(admin.ModelAdmin):
    list_display = ["__str__", "amount", "due", "mailed_at"]
    list_select_related = ["order"]
    actions = ["send_again"]

    @admin.action(description="Send again")
    def send_again(self, request: HttpRequest, invoices: QuerySet[Invoice]) -> None:
        with transaction.atomic():  # or a quick worker would still see them as mailed
            invoices.update(mailed_at=None)
            for invoice in invoices.select_related("order"):
                SendInvoice(invoice.order.number, invoice.amount, invoice.due).using(priority="high").enqueue()
        self.message_user(request, "Enqueued. manage.py queue_work sends them.")


@admin.register(Picture)
class PictureAdmin(admin.ModelAdmin):
    list_display = ["upload", "product", "upload_bytes", "thumbnail_bytes", "shown"]
    list_select_related = ["product"]
    actions = ["shrink_again"]

    @admin.display(description="thumbnail")
    def shown(self, picture: Picture) -> Any:
        if not picture.thumbnail:
            return "none yet"
        return format_html('<img src="{}" alt="" height="60">', picture.thumbnail.url)

    @admin.action(description="Make the thumbnails again")
    def shrink_again(self, request: HttpRequest, chosen: QuerySet[Picture]) -> None:
        make_thumbnail.enqueue_many([{"picture_id": pk} for pk in chosen.values_list("pk", flat=True)])
        self.message_user(request, "Enqueued. manage.py queue_work makes them.")


admin.site.register([Product, ExchangeRate])
