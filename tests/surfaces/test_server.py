"""What the server refuses before it opens a port."""

from __future__ import annotations

import pytest

from headgate.config import Config, ServerConfig
from headgate.errors import ConfigError
from headgate.surfaces.server import check_exposure, serve
from headgate.types import Secret

OUTSIDE = ["0.0.0.0", "::", "10.0.0.5", "gate.example", ""]


@pytest.mark.parametrize("host", OUTSIDE)
def test_other_machines_are_let_near_only_with_an_admin_token(host: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_exposure(Config(server=ServerConfig(host=host)))
    (problem,) = caught.value.problems
    assert problem.key == "server.admin_token"
    assert "127.0.0.1" in problem.message
    check_exposure(Config(server=ServerConfig(host=host, admin_token=Secret("t"))))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    check_exposure(Config(server=ServerConfig(host=host)))


def test_an_exposed_server_without_a_token_does_not_start() -> None:
    with pytest.raises(ConfigError):
        serve(Config(server=ServerConfig(host="0.0.0.0", port=0)), config_file=None)
