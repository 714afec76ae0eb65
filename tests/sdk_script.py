"""Runs a group of the checks of the SDK transport in another environment, prints JSON.

Usage: python sdk_script.py LIBRARY GROUP sync|async [--without MODULE]. It tells the versions of
the SDKs, the client libraries that got loaded, and for each check "" or the traceback of its
failure; how long each took goes to standard error.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import sys
import time
import traceback
import warnings
from typing import Any

CHECK_S = 60


def main(library: str, group: str, kind: str) -> None:
    # Imported here: `--without` has to hold before.
    checks = importlib.import_module("sdk_checks")
    results = {check.__name__: result_of(check, library, kind) for check in checks.GROUPS[group]}
    versions = [sys.modules[name].__version__ for name in ("openai", "anthropic")]
    loaded = [name for name in ("httpx", "httpx2") if sys.modules.get(name) is not None]
    print(json.dumps({"versions": versions, "loaded": loaded, "results": results}))


def result_of(check: Any, library: str, kind: str) -> str:
    """ "" or a traceback."""
    faulthandler.dump_traceback_later(CHECK_S, exit=True)  # a check that hangs says where
    started_s = time.monotonic()
    try:
        importlib.import_module("sdk_bench").run_check(check, library, kind == "async")
    except Exception:  # noqa: BLE001 - told to whoever started this
        return traceback.format_exc()
    finally:
        print(f"{time.monotonic() - started_s:.2f} s {check.__name__}", file=sys.stderr)
    return ""


if __name__ == "__main__":
    warnings.simplefilter("error", ResourceWarning)
    if sys.argv[4:5] == ["--without"]:
        sys.modules[sys.argv[5]] = None  # type: ignore[assignment]  # as if not installed
    main(*sys.argv[1:4])
