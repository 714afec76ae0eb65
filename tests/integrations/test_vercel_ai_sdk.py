"""The Vercel AI SDK through a gateway: the example, run by node. `make test` installs both."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path

from gates import gate_before

from headgate.testing import FakeProvider

EXAMPLE = Path(__file__).parents[2] / "examples" / "vercel-ai-sdk"
NODE_S = 120


def test_every_way_of_asking_asks_once() -> None:
    node = shutil.which("node")
    assert node, "node is not installed: run `make test`, which installs it"
    installed = EXAMPLE / "node_modules" / "ai"
    assert installed.exists(), f"{installed} does not exist: run `make test`, which installs it"
    with FakeProvider() as provider, gate_before(provider) as gate:
        done = subprocess.run(
            [node, "ask.mjs", gate.url], cwd=EXAMPLE, capture_output=True, text=True, timeout=NODE_S
        )
        assert done.returncode == 0, done.stderr[-4000:]
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        asked = Counter((call.path, bool(call.body.get("stream"))) for call in provider.calls)
    paths = ("/v1/responses", "/v1/chat/completions", "/v1/messages")
    assert asked == Counter((path, streamed) for path in paths for streamed in (False, True))
    assert len(answers) == 2 * len(asked)
    for first, second in zip(answers[::2], answers[1::2], strict=True):
        assert (first["time"], second["time"]) == ("first", "second")
        assert "fwd=miss" in first["cache"]
        assert "; hit; " in second["cache"]
        assert first["text"] == second["text"] != ""
        assert first["tokens"] == second["tokens"] > 0
