"""instructor's cache over ours, in the environment where it is installed."""

from __future__ import annotations

import importlib

import pytest
from frameworks import LEGACY, passed_in_suite


def test_its_clients_ask_once() -> None:
    assert passed_in_suite("suite_instructor.py", LEGACY) == 5


def test_without_instructor_it_says_what_to_install() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"headgate\[instructor\]"):
        importlib.import_module("headgate.integrations.instructor")
