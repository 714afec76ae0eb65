"""The laboratory as fixtures: whatever a test of this folder did, the oracle has the last word."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import Lab, config_for, laboratory

from headgate.clock import Clock
from headgate.config import Config
from headgate.testing import FaultServer


@pytest.fixture(scope="session", autouse=True)
def _unicode_tables() -> None:
    """Made by Hypothesis when it first draws a text on a machine, which takes 200 MB: no scenario's
    memory."""

    @settings(max_examples=1, database=None)
    @given(st.text())
    def draw(text: str) -> None:
        assert isinstance(text, str)

    draw()


@pytest.fixture
def open_lab(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[..., Lab]]:
    """Opens laboratories; `configure` makes the gateway's configuration from its fault server,
    keywords are settings of both providers."""
    with ExitStack() as opened:

        def open_one(
            configure: Callable[[FaultServer], Config] | None = None,
            tls: ssl.SSLContext | None = None,
            clock: Clock | None = None,
            *,
            beside: bool = False,
            **more: object,
        ) -> Lab:
            usual = configure or (lambda server: config_for(server, **more))
            made = laboratory(caplog, usual, tls, clock, beside=beside)
            return opened.enter_context(made)

        yield open_one


@pytest.fixture
def lab(open_lab: Callable[..., Lab]) -> Lab:
    """A gateway without credentials of its own in front of a fault server."""
    return open_lab()
