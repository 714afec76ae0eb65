"""The door to the upstream client; nobody else may open it.

The client library takes longer to import than the rest of headgate together, so it is loaded when a
provider is opened, not before: a runtime without HTTP providers never pays for it.
"""

from __future__ import annotations

import importlib
from typing import cast

from headgate.providers.settings import ProviderConfig
from headgate.providers.wire import Wire


def open_wire(settings: ProviderConfig) -> Wire:
    """A pool of at most `connections_max` connections to one provider.

    Needs no running event loop; the wire belongs to the loop of its first `send`. Trusts the
    system's certificates, or those of the file that SSL_CERT_FILE names when the process starts.
    """
    client = importlib.import_module("headgate.providers.wire_aiohttp")
    return cast(Wire, client.AiohttpWire(settings.connections_max))
