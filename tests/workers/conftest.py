from __future__ import annotations

from tests.crash.fixtures import alias, open_stage

__all__ = ["alias", "open_stage"]
