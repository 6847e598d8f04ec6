from __future__ import annotations

from tests.crash.fixtures import alias, books, open_stage

__all__ = ["alias", "books", "open_stage"]
