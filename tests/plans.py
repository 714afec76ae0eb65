"""The plan of a request, for tests of what enters it."""

from __future__ import annotations

import json
from typing import Any

from headgate.admission import Admission, Plan
from headgate.admission_head import read_head
from headgate.config import Config, ProviderConfig

BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
OPENAI = Config(providers={"openai": ProviderConfig()})


def plan_of(
    body: Any, config: Config = OPENAI, *, operation: str = "chat", query: bytes = b"",
    **headers: str,
) -> Plan:  # fmt: skip
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Admission(config).plan(operation, head_of(**headers), content, query)


def head_of(**headers: str) -> Any:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return read_head(named)
