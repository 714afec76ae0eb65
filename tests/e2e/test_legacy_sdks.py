"""The official SDKs of the generation before, in an environment of their own."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from batchgates import batch_gate
from dialects import DIALECTS

from headgate.testing import FakeProvider

SCRIPT = Path(__file__).with_name("legacy_script.py")


def test_openai_2_and_anthropic_0_work_unchanged(
    gate: Any, provider: FakeProvider, legacy_python: str
) -> None:
    done = subprocess.run(
        [legacy_python, str(SCRIPT), gate.url], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    openai, anthropic = told["versions"]
    assert (openai.split(".")[0], anthropic.split(".")[0]) == ("2", "0")
    assert told["openai"] == {
        "chat": [True, "ChatCompletion"],
        "completions": [True, "Completion"],
        "responses": [True, "Response"],
        "embeddings": [True, "CreateEmbeddingResponse"],
    }
    assert told["messages"] is True
    assert told["streams"] == [True, True]
    assert told["replays"] == {dialect: [True, True, True] for dialect in DIALECTS}
    assert all("; hit; " in status for status in told["async"])
    assert told["errors"] == ["BadRequestError", "BadRequestError", "NotFoundError"]
    assert "fake-large" in told["models"]
    asked = Counter((call.path, bool((call.body or {}).get("stream"))) for call in provider.calls)
    assert set(asked.values()) == {1}, "nothing was asked twice"
    assert len(asked) == 10, "whole answers also serve streams"


def test_their_batches_work_unchanged(
    tmp_path: Path, provider: FakeProvider, legacy_python: str
) -> None:
    script = SCRIPT.with_name("legacy_batches.py")
    with batch_gate(tmp_path, provider) as gate:
        done = subprocess.run(
            [legacy_python, str(script), gate.url], capture_output=True, text=True, timeout=90
        )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [version.split(".")[0] for version in told["versions"]] == ["2", "0"]
    assert told["openai"] == ["completed", ["a", "b"], [True], True]
    assert told["anthropic"] == ["ended", ["a", "b"], [True], "message_batch_deleted"]
    assert len(provider.calls) == 2
