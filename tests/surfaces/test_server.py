"""What the server refuses before it opens a port, the port, and what uvicorn is told."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import forget_settings

from headgate.config import Config, ServerConfig
from headgate.errors import ConfigError
from headgate.runtime import Runtime
from headgate.surfaces.gateway import Gateway
from headgate.surfaces.server import (
    CONFIG_VARIABLE,
    HOST_VARIABLE,
    check_exposure,
    listen,
    serve,
    url_of,
    uvicorn_settings,
    worker_app,
)
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


def test_port_0_listens_on_a_free_port_and_the_url_names_it() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert url_of(listener) == f"http://127.0.0.1:{port}"
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        assert listener.get_inheritable(), "worker processes listen on it too"


def has_version_6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_address_of_version_6_has_brackets_in_its_url(host: str) -> None:
    if not has_version_6():
        with pytest.raises(OSError, match=r"\w"):
            listen(host, 0)
        return
    with listen(host, 0) as listener:
        assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b"])
def test_an_address_that_cannot_be_listened_on_is_an_os_error(host: str) -> None:
    with pytest.raises(OSError, match=r"\w"):
        listen(host, 0)


def test_a_port_is_listened_on_once() -> None:
    with listen("127.0.0.1", 0) as listener, pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", listener.getsockname()[1])


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """uvicorn sets up its loggers, which would hide its errors from later tests."""
    loggers = [logging.getLogger(name) for name in ("uvicorn", "uvicorn.error", "uvicorn.access")]
    before = [(one.propagate, one.level, [*one.handlers]) for one in loggers]
    yield
    for one, (propagate, level, handlers) in zip(loggers, before, strict=True):
        one.propagate, one.level, one.handlers = propagate, level, handlers


@pytest.mark.usefixtures("logging_restored")
def test_uvicorn_serves_a_gateway_or_makes_one_in_each_worker() -> None:
    with Runtime() as runtime:
        alone = uvicorn_settings(Gateway(runtime), ServerConfig(drain_timeout=7.4))
    several = uvicorn_settings("headgate.surfaces.server:worker_app", ServerConfig(workers=3))
    assert (alone.factory, alone.workers) == (False, 1)
    assert (several.factory, several.workers) == (True, 3)
    for settings in (alone, several):
        assert not settings.access_log, "requests hold what callers keep to themselves"
        assert not settings.proxy_headers, "anybody could claim to be this machine"
    assert (alone.timeout_graceful_shutdown, several.timeout_graceful_shutdown) == (7, 60)


def test_a_worker_loads_what_its_parent_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_settings(monkeypatch)
    file = tmp_path / "gate.toml"
    file.write_text("[cache]\nmaxsize = 7\n")
    monkeypatch.setenv(CONFIG_VARIABLE, str(file))
    monkeypatch.setenv(HOST_VARIABLE, "::1")
    gateway = worker_app()
    runtime = gateway._runtime
    assert (runtime.config.cache.maxsize, runtime.config.server.host) == (7, "::1")
    runtime.close()
