"""Makes src/headgate/demo/banking77_questions.jsonl from Banking77's training questions.

Run by hand when the choice changes: `python scripts/make_demo_workload.py SOURCE OUT`, SOURCE being
JSON lines (plain or .gz) of {"text", "intent"}. The same source gives the same file.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import defaultdict
from pathlib import Path

from headgate.core.splitmix import mix

PER_INTENT = 5
CHARS_MIN, CHARS_MAX = 20, 140
SEED = 77


def read(path: Path) -> list[dict[str, str]]:
    """The rows of the source, in its order."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def choose(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Five questions of each intent, white space trimmed, no text twice; shuffled, because the
    place in the file is the popularity rank and an alphabet of intents is no popularity."""
    by_intent: dict[str, list[str]] = defaultdict(list)
    seen: set[str] = set()
    for row in rows:
        text = " ".join(row["text"].split())
        if CHARS_MIN <= len(text) <= CHARS_MAX and text.endswith("?") and text.lower() not in seen:
            seen.add(text.lower())
            by_intent[row["intent"]].append(text)
    chosen = []
    for intent, texts in sorted(by_intent.items()):
        step = max(1, len(texts) // PER_INTENT)
        chosen += [{"text": text, "intent": intent} for text in texts[::step][:PER_INTENT]]
    order = sorted(range(len(chosen)), key=lambda index: mix(SEED, index))
    return [chosen[index] for index in order]


def main(source: str, out: str) -> None:
    chosen = choose(read(Path(source)))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in chosen)
    Path(out).write_text(lines, encoding="utf-8")
    print(f"{len(chosen)} questions, {len(lines.encode())} bytes")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
