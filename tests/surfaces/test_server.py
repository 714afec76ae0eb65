"""What the server refuses before it opens a port, and the port."""

from __future__ import annotations

import socket

import pytest

from headgate.config import Config, ServerConfig
from headgate.errors import ConfigError
from headgate.layers.settings import MetricsConfig
from headgate.surfaces.reload import Source
from headgate.surfaces.server import listen, serve, url_of


def test_an_exposed_server_without_a_token_does_not_start() -> None:
    with pytest.raises(ConfigError):
        serve(Config(server=ServerConfig(host="0.0.0.0", port=0)), Source())


def test_a_server_without_its_exporter_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "nobodys")
    config = Config(metrics=MetricsConfig(otel=True), server=ServerConfig(port=0))
    with pytest.raises(ConfigError, match="pip install opentelemetry-exporter"):
        serve(config, Source())


def test_port_0_listens_on_a_free_port_and_the_url_names_it() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert url_of(listener) == f"http://127.0.0.1:{port}"
        socket.create_connection(("127.0.0.1", port), timeout=60).close()
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
