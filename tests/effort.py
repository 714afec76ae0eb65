"""How thorough a run of the tests is. Asked here and nowhere else."""

from __future__ import annotations

import os

FULL = os.environ.get("HEADGATE_TEST_FULL", "") == "1"
"""`make test-full`: every byte and every repetition, where `make test` takes samples."""
