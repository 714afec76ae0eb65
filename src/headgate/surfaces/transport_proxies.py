"""Which proxy the environment names for a URL, as the client libraries read it. Pure.

They do so themselves only in a client without a transport of its own, so a transport that is to
send what they would send has to do it again.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping


def proxy_for(scheme: str, host: str, port: int | None, proxies: Mapping[str, str]) -> str | None:
    """The proxy's URL, None for a direct connection. `port` is None where it is the default one.

    `proxies` is what `urllib.request.getproxies` returns: `http`, `https`, `all`, `no`. An entry of
    `no` is `*`, a name (it and all below it), a name with a dot in front (only those below), an
    address, a network, or a URL; all but a network may end in a port.
    """
    entries = [entry.strip() for entry in proxies.get("no", "").split(",")]
    if any(_is_excepted(entry, scheme, host, port) for entry in entries if entry):
        return None
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy:
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_excepted(entry: str, scheme: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    wanted, found, rest = entry.partition("://")
    if found and wanted not in ("all", scheme):
        return False
    name, wanted_port = _split(rest if found else entry)
    if wanted_port and wanted_port != str(port or ""):
        return False
    return (not name and bool(found)) or _names(name.lower(), host, exactly=bool(found))


def _split(place: str) -> tuple[str, str]:
    """Name and port of `name:port`, `[address]:port` or an address."""
    if place.startswith("["):
        name, _, rest = place[1:].partition("]")
        if rest.startswith("/"):
            return name + rest, ""
        return name, rest.removeprefix(":")
    if place.count(":") > 1:
        return place, ""
    name, _, port = place.partition(":")
    return name, port


def _names(name: str, host: str, *, exactly: bool) -> bool:
    network, address = _network(name), _network(host)
    if network is not None or address is not None:
        return network is not None and address is not None and _holds(network, address)
    if name.startswith("*."):
        name = name[1:]
    if name.startswith("."):
        return host.endswith(name)
    return host == name or (not exactly and name != "localhost" and host.endswith(f".{name}"))


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(name: str) -> Network | None:
    """The network of one or more addresses that `name` spells."""
    try:
        return ipaddress.ip_network(name, strict=False)
    except ValueError:
        return None


def _holds(network: Network, address: Network) -> bool:
    if isinstance(network, ipaddress.IPv4Network):
        return isinstance(address, ipaddress.IPv4Network) and address.subnet_of(network)
    return isinstance(address, ipaddress.IPv6Network) and address.subnet_of(network)
