"""LangChain's own suites for caches over ours, and its chat models over our client; in the
environment where LangChain is installed.
"""

from __future__ import annotations

import importlib

import pytest
from frameworks import passed_in_suite


def test_langchains_suites_pass_and_its_models_ask_once() -> None:
    """Sixteen of the tests are LangChain's, each with and without a disk."""
    assert passed_in_suite("suite_langchain.py") >= 2 * 16 + 8


def test_without_langchain_it_says_what_to_install() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"headgate\[langchain\]"):
        importlib.import_module("headgate.integrations.langchain")
