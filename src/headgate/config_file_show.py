"""The settings for people and editors: reference, JSON schema, a commented file, effective values.

All of it is made from the dataclasses, so that none of it can say something else than the code.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from headgate.config import Config
from headgate.config_file import Loaded
from headgate.config_file_kinds import kind_of
from headgate.config_file_model import block_of, default_of, hints_of, leaves, model_of
from headgate.config_file_text import Path, dotted
from headgate.providers.settings import DEFAULT_BASE_URLS

SCHEMA_FILE = "headgate.schema.json"
_WIDTH = 96
_TOP = f"""\
#:schema {SCHEMA_FILE}
# Settings of headgate. `headgate check --config FILE` says whether a file can be used.
# A line that begins with # and a name shows a default; remove the # to change it.
# Strings take variables: ${{VAR}} must be set, ${{VAR:-default}} need not.
# Editors check the file where the line above leads: headgate config schema > {SCHEMA_FILE}
"""
_NO_PROVIDER = """\
# Without any provider here they come from the environment (OPENAI_API_KEY, ANTHROPIC_API_KEY),
# and without these variables the built-in fake provider answers.
"""
# What the examples of named blocks say besides defaults, as TOML.
_SERVER = {"admin_token": '"${HEADGATE_ADMIN_TOKEN:-}"'}
_KEYS = {"pepper": '"${HEADGATE_PEPPER:-}"'}
_CACHE_MODEL = {
    "ttl": '"2h"',
    "enabled": "true",
    "tool_calls": "true",
    "truncated": "true",
    "refusal_ttl": '"5m"',
    "remote_media": "false",
    "hosted_tools": "false",
    "server_state": "false",
    "temperature_max": "0.2",
}
# Of settings that are absent by default.
_LIMITS = {
    "concurrency_start": "20",
    "client_requests_per_minute": "600",
    "client_tokens_per_minute": "1_000_000",
    "memory_max_bytes": '"2GB"',
}
_MODEL = {"targets": '["openai/gpt-4o"]'}
_OPENAI = {
    "base_url": f'"{DEFAULT_BASE_URLS["openai"]}"',
    "api_key": '"${OPENAI_API_KEY:-}"',
    "requests_per_minute": "500",
    "tokens_per_minute": "200_000",
}
_PRICE = {
    "input": '"2.50"',
    "output": '"10.00"',
    "cache_read": '"1.25"',
    "cache_write": '"2.50"',
    "cache_write_1h": '"2.50"',
    "batch": '"0.5"',
}
_BATCH_API = {
    "requests_max": "50_000",
    "file_max_bytes": '"200MB"',
    "enqueued_tokens_max": "2_000_000",
    "window": '"24h"',
    "price_factor": '"0.5"',
}
_GIVEN: dict[Path, Mapping[str, str]] = {
    ("server",): _SERVER,
    ("limits",): _LIMITS,
    ("keys",): _KEYS,
}
_EXAMPLES: dict[Path, tuple[str, Mapping[str, str]]] = {
    ("cache", "models"): ("gpt-4", _CACHE_MODEL),
    ("providers",): ("openai", _OPENAI),
    ("models",): ("gpt-4o", _MODEL),
    ("prices",): ("openai/gpt-4o", _PRICE),
    ("batch_api",): ("openai", _BATCH_API),
}


class Setting(NamedTuple):
    """One setting as the reference shows it."""

    section: str
    """As a header says it: `cache.models."NAME"`."""
    name: str
    kind: str
    default: str
    """As TOML; empty where there is none."""
    line: str
    """What it is for."""


def documented(block: type) -> dict[str, str]:
    """The line under each field of a block, and the block's own under ""."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(block))).body
    lines = {"": inspect.getdoc(block) or ""}
    body = node.body if isinstance(node, ast.ClassDef) else []
    for field, below in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = below.value if isinstance(below, ast.Expr) else None
            if isinstance(text, ast.Constant):
                lines[field.target.id] = inspect.cleandoc(str(text.value))
    return lines


def blocks(block: type = Config, path: Path = ()) -> Iterator[tuple[Path, type]]:
    """Every block with its place; named ones stand under `NAME`, and last.

    Last, because their headers are commented out in `commented_file`: a line below that somebody
    turns on alone must not become a valid setting of `[cache]`.
    """
    if path:
        yield path, block
    inner = [(name, nested) for name, it in hints_of(block).items() if (nested := block_of(it))]
    for name, (nested_block, is_named) in sorted(inner, key=lambda found: found[1][1]):
        yield from blocks(nested_block, (*path, name, "NAME") if is_named else (*path, name))


def reference() -> list[Setting]:
    """Every setting there is, in the order of the classes."""
    return [setting for path, block in blocks() for setting in _settings(path, block)]


def _settings(path: Path, block: type) -> Iterator[Setting]:
    lines = documented(block)
    section = dotted(path).replace("NAME", '"NAME"')
    for name, annotation in hints_of(block).items():
        if block_of(annotation) is None:
            kind, default = kind_of(annotation), default_of(block, name)
            spelled = "" if default is None else kind.spell(default)
            yield Setting(section, name, kind.name, spelled, lines.get(name, ""))


def schema() -> dict[str, Any]:
    """The JSON schema of the file, with a description for every key."""
    made = model_of(Config, documented).model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **made,
        "title": "headgate.toml",
        "description": "Settings of headgate.",
    }


def commented_file() -> str:
    """A `headgate.toml` that changes nothing: every setting with its default, or an example where
    it has none, commented out."""
    return "\n".join([_TOP, *(_block_text(*found) for found in blocks() if any(_settings(*found)))])


def _block_text(path: Path, block: type) -> str:
    name, given = _EXAMPLES.get(path[:-1], ("", _GIVEN.get(path, {})))
    header = f'{dotted(path[:-1])}."{name}"' if name else dotted(path)
    before = _NO_PROVIDER if path[0] == "providers" else ""
    mark = "#" if name else ""
    text = [f"{_prose(documented(block)[''])}{before}{mark}[{header}]\n"]
    for setting in _settings(path, block):
        value = given.get(setting.name, setting.default)
        text.append(f"{_prose(setting.line)}#{setting.name} = {value}\n")
    return "".join(text)


def _prose(text: str) -> str:
    lines = textwrap.wrap(text.replace("\n", " "), _WIDTH - 2)
    return "".join(f"# {line}\n" for line in lines)


def effective(loaded: Loaded) -> list[tuple[str, str, str]]:
    """(key, value as TOML, where it came from) of every setting: secrets as `***`, what is absent
    as an empty string. Every value that is there is JSON, too."""
    rows = []
    for leaf in leaves(loaded.config):
        spelled = "" if leaf.value is None else kind_of(leaf.annotation).spell(leaf.value)
        key = dotted(leaf.path)
        rows.append((key, spelled, loaded.origins[key]))
    return rows
