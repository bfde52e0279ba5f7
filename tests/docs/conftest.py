from __future__ import annotations

from tests.alerts.conftest import program

__all__ = ["program"]
