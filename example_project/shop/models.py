"""What the shop knows. Jobs may run more than once, so each of these can be written twice and is the same after."""

from __future__ import annotations

from django.db import models


class Product(models.Model):
    sku = models.CharField("SKU", max_length=20, unique=True)
    name = models.CharField(max_length=100)
    price = models.DecimalField(max_digits=9, decimal_places=2)

    def __str__(self) -> str:
        return f"{self.name} ({self.sku})"


class Picture(models.Model):
    """A product's picture: the upload as it came (a file name in samples/pictures), and what is shown in the shop."""

    product = models.ForeignKey(Product, models.CASCADE, related_name="pictures")
    upload = models.CharField(max_length=100, unique=True)
    upload_bytes = models.PositiveIntegerField(default=0)
    thumbnail = models.FileField(upload_to="thumbnails", blank=True)
    thumbnail_bytes = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return self.upload


class Order(models.Model):
    number = models.CharField(max_length=20, unique=True)
    placed_on = models.DateField()
    customer = models.CharField(max_length=100)
    email = models.EmailField()
    currency = models.CharField(max_length=3)
    total = models.DecimalField(max_digits=11, decimal_places=2)

    def __str__(self) -> str:
        return f"Order {self.number}"


class OrderLine(models.Model):
    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, models.PROTECT)
    quantity = models.PositiveIntegerField()
    unit_price = models.DecimalField(max_digits=9, decimal_places=2)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["order", "product"], name="shop_line_once")]

    def __str__(self) -> str:
        return f"{self.quantity} of {self.product_id}"


class Invoice(models.Model):
    order = models.OneToOneField(Order, models.CASCADE)
    amount = models.DecimalField(max_digits=11, decimal_places=2)
    due = models.DateField()
    mailed_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.number

    @property
    def number(self) -> str:
        return f"INV-{self.order.number}"


class ExchangeRate(models.Model):
    """How much one euro is worth."""

    currency = models.CharField(max_length=3, primary_key=True)
    rate = models.DecimalField(max_digits=10, decimal_places=4)

    def __str__(self) -> str:
        return f"{self.rate} {self.currency}"
