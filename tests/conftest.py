"""How Hypothesis draws its examples: nothing it judges depends on how busy the machine is, and two
runs of the suite draw the same."""

from __future__ import annotations

import pytest
from effort import FULL
from hypothesis import HealthCheck, settings


def pytest_configure(config: pytest.Config) -> None:
    """New examples are for who asks for them, with a seed or with `make test-full`: a run of the
    suite is about the change before it, not about the dice."""
    is_fixed = not FULL and config.getoption("--hypothesis-seed") is None
    # An example may take as long as it takes, and so may drawing it.
    settings.register_profile(
        "suite",
        deadline=None,
        derandomize=is_fixed,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("suite")
