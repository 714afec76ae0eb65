"""LlamaIndex over our client, in the environment where it is installed."""

from __future__ import annotations

from frameworks import LEGACY, passed_in_suite


def test_its_models_ask_once() -> None:
    assert passed_in_suite("suite_llamaindex.py", LEGACY) == 1
