"""How long the pages of the admin take over tables with millions of rows. See `__main__.py`."""
