"""A file that declares an app, in whichever of the three forms its name says."""

from __future__ import annotations

import importlib
from pathlib import Path

from headgate.errors import ConfigError, Problem
from headgate.generate.building import build
from headgate.generate.model import App, Faulty, Skipped, Source

SOURCE_BYTES_MAX = 4_000_000
_FORMS = "an app is written in a .ai, .py or .toml file"


def read_app(path: Path) -> tuple[App, list[Skipped]]:
    """The app in a file, and what of the file nothing is generated from.

    Raises ConfigError for a file that cannot be read, and Faulty with everything that is wrong.
    """
    source = read_source(path, _content(path))
    app, findings = build(source, path.stem)
    findings = [*source.findings, *findings]
    if findings:
        raise Faulty(source.file, source.text, findings)
    return app, source.skipped


def read_source(path: Path, text: str) -> Source:
    """What stands in `text`, a file of this name. Raises ConfigError."""
    if path.suffix == ".ai":
        try:
            program = importlib.import_module("headgate.generate.program")
        except ModuleNotFoundError as error:
            if error.name != "lark":
                raise
            message = "reading .ai files needs lark: pip install 'headgate[generate]'"
            raise ConfigError([Problem("", message)], str(path)) from None
        source: Source = program.read_program(str(path), text)
        return source
    settings = importlib.import_module("headgate.generate.settings_source")
    readers = {".py": settings.read_python, ".toml": settings.read_toml}
    if path.suffix not in readers:
        raise ConfigError([Problem("", _FORMS)], str(path))
    found: Source = readers[path.suffix](str(path), text)
    return found


def _content(path: Path) -> str:
    try:
        with path.open("rb") as opened:
            content = opened.read(SOURCE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError([Problem("", f"cannot be read: {error.strerror}")], str(path)) from None
    if len(content) > SOURCE_BYTES_MAX:
        raise ConfigError([Problem("", f"larger than {SOURCE_BYTES_MAX} bytes")], str(path))
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem("", "not UTF-8", line)], str(path)) from None
