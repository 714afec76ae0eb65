"""Agents of OpenAI's SDK and of pydantic over our client, where they are installed."""

from __future__ import annotations

from frameworks import passed_in_suite


def test_agents_ask_once() -> None:
    assert passed_in_suite("suite_agents.py") == 4
