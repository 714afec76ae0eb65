"""Every house rule can fail: each is fed code that breaks it, and code that only looks like it."""

from __future__ import annotations

import pytest
from tidy.rules import RULES
from tidy.source import Finding, parse, split

CHECKS = {rule.sentence: rule.check for rule in RULES}
CORE = "src/headgate/core/thing.py"
LAYER = "src/headgate/layers/thing.py"
STORE = "src/headgate/stores/thing.py"
SURFACE = "src/headgate/surfaces/thing.py"

BROKEN = [
    ("files are short", CORE, "x = 1\n" * 401),
    ("files are short", LAYER, "x = 1\n" * 151),
    ("functions are short", CORE, "def f():\n" + "    x = 1\n" * 50),
    ("functions are short", CORE, "class A:\n    async def f(self):\n" + "        x = 1\n" * 50),
    ("functions are flat", CORE, "def f():\n if a:\n  for b in c:\n   with d:\n    while e: pass"),
    ("functions are flat", CORE, "def f():\n if a:\n  try: x\n  except E:\n   if b:\n    if c: y"),
    ("parameters are few", CORE, "def f(self, a, b, c, d, e, f, g): ..."),
    ("parameters are few", CORE, "def f(a, b, c, *d, e, f, **g): ..."),
    ("files open with a docstring", CORE, "x = 1"),
    ("files open with a docstring", CORE, '"""' + "line\n" * 11 + '"""'),
    ("public names are documented", CORE, "class Thing: x = 1"),
    ("public names are documented", CORE, "def thing(): return 1"),
    ("public names are documented", CORE, "if a:\n def thing(): return 1"),
    (
        "public names are documented",
        CORE,
        "class A:\n 'doc'\n def thing(self):\n  x = 1\n  return x",
    ),
    ("names say something", "src/headgate/util.py", ""),
    ("names say something", CORE, "class CacheManager: ..."),
    ("names say something", CORE, "class HTTPHandler: ..."),
    ("names say something", CORE, "def process_request(): ..."),
    ("names say something", CORE, "def read(data): ..."),
    ("names say something", CORE, "def read_v2(): ..."),
    ("modules keep no state", CORE, "seen = {}"),
    ("modules keep no state", CORE, "seen: dict[str, int] = dict(a=1)"),
    ("modules keep no state", CORE, "SEEN = []"),
    ("modules keep no state", CORE, "LOCK = threading.Lock()"),
    ("modules keep no state", CORE, "runtime = Runtime()"),
    ("modules keep no state", CORE, "TABLE = {1: 2}\ndef f(): TABLE[3] = 4"),
    ("modules keep no state", CORE, "TABLE = [1]\ndef f(): TABLE.append(4)"),
    ("modules keep no state", CORE, "def f():\n global x"),
    ("modules keep no state", CORE, "@functools.lru_cache(maxsize=9)\ndef f(): ..."),
    ("imports stand on top", CORE, "def f():\n    import json"),
    ("imports stand on top", CORE, "class A:\n def f(self):\n  if x:\n   from json import loads"),
    ("every file has a room", "src/headgate/attic/thing.py", ""),
    ("every file has a room", "src/headgate/runtimes.py", ""),
    ("imports go one way", CORE, "from headgate.clock import Clock"),
    ("imports go one way", CORE, "import headgate.layers.cache"),
    ("imports go one way", CORE, "from headgate import runtime"),
    ("imports go one way", CORE, "from ..types import Call"),
    ("imports go one way", CORE, "importlib.import_module('headgate.config_file')"),
    ("imports go one way", LAYER, "from headgate.layers.cache import Cache"),
    ("imports go one way", LAYER, "from headgate.layers import cache"),
    ("imports go one way", LAYER, "from headgate.stores.memory import MemoryStore"),
    ("imports go one way", LAYER, "if TYPE_CHECKING:\n    from headgate.config import Config"),
    ("imports go one way", STORE, "from headgate.stores.memory import MemoryStore"),
    ("imports go one way", "src/headgate/providers/thing.py", "import headgate.runtime"),
    ("imports go one way", "src/headgate/runtime.py", "import headgate.surfaces.gateway"),
    ("imports go one way", SURFACE, "from headgate.stores.sqlite import SqliteStore"),
    ("libraries stay in their rooms", CORE, "import apsw"),
    ("libraries stay in their rooms", SURFACE, "from aiohttp import ClientSession"),
    ("libraries stay in their rooms", LAYER, "importlib.import_module('pydantic')"),
    ("libraries stay in their rooms", SURFACE, "import litellm"),
    ("core is pure", CORE, "import asyncio"),
    ("core is pure", CORE, "from os import path"),
    ("core is pure", CORE, "import logging"),
    ("core is pure", CORE, "async def f(): ..."),
    ("core is pure", CORE, "def f(): open('x')"),
    ("time and dice come from the clock", LAYER, "import time"),
    ("time and dice come from the clock", LAYER, "from random import random"),
    ("time and dice come from the clock", LAYER, "import secrets"),
    ("time and dice come from the clock", LAYER, "datetime.datetime.now()"),
    ("time and dice come from the clock", LAYER, "datetime.now(UTC)"),
    ("time and dice come from the clock", LAYER, "uuid.uuid4()"),
    ("time and dice come from the clock", LAYER, "os.urandom(8)"),
    ("excepts are narrow", LAYER, "try: x\nexcept: y"),
    ("excepts are narrow", LAYER, "try: x\nexcept Exception: y"),
    ("excepts are narrow", LAYER, "try: x\nexcept (OSError, BaseException): y"),
    ("excepts are narrow", LAYER, "with contextlib.suppress(Exception): x"),
    ("strings are not code", LAYER, "eval('1')"),
    ("strings are not code", LAYER, "exec(compile(text, 'f', 'exec'))"),
    ("strings are not code", LAYER, "import pickle"),
    ("strings are not code", LAYER, "from yaml import load"),
    ("strings are not code", LAYER, "importlib.import_module(name)"),
    ("strings are not code", LAYER, "importlib.import_module(f'headgate.{name}')"),
    ("SQL is fixed", STORE, "db.execute(f'delete from {table}')"),
    ("SQL is fixed", STORE, "db.execute('delete from ' + table)"),
    ("SQL is fixed", STORE, "db.executemany('delete from %s' % table, rows)"),
    ("SQL is fixed", STORE, "cursor.execute(statement)"),
    ("SQL is fixed", STORE, "cursor.execute(STATEMENT.format(table))"),
]

SOUND = [
    ("files are short", CORE, "x = 1\n" * 400),
    ("files are short", LAYER, "x = 1\n" * 150),
    ("functions are short", CORE, "def f():\n" + "    x = 1\n" * 49),
    (
        "functions are short",
        CORE,
        'def f():\n    """' + "line\n" * 60 + '"""\n' + "    x = 1\n" * 40,
    ),
    (
        "functions are flat",
        CORE,
        "def f():\n if a: x\n elif b: x\n elif c: x\n elif d: x\n else: y",
    ),
    ("functions are flat", CORE, "def f():\n if a:\n  for b in c:\n   def g():\n    if d: x"),
    ("parameters are few", CORE, "def f(self, a, b, c, d, e, f): ..."),
    ("files open with a docstring", "src/headgate/core/__init__.py", ""),
    ("public names are documented", CORE, "class A(Protocol):\n 'doc'\n def f(self): ..."),
    ("public names are documented", CORE, "def f():\n 'doc'\n def g(): return 1\n return g"),
    ("public names are documented", CORE, "def _f():\n x = 1\n return x"),
    ("names say something", CORE, "class Process:\n def __new__(cls): ..."),
    ("modules keep no state", CORE, "TABLE = {1: 2}\nT = TypeVar('T')\nname: ContextVar[int]"),
    ("modules keep no state", CORE, "TABLE = {1: 2}\ndef f(self): self.table[1] = TABLE[1]"),
    ("imports stand on top", CORE, "if TYPE_CHECKING:\n    import json"),
    ("imports go one way", CORE, "from headgate.types import Call\nimport json"),
    ("imports go one way", LAYER, "from headgate.stores import base"),
    ("libraries stay in their rooms", STORE, "import apsw, msgspec, sqlite3"),
    ("core is pure", LAYER, "import asyncio\nasync def f(): ..."),
    ("core is pure", CORE, "from headgate.types import Call\nimport math"),
    ("time and dice come from the clock", "src/headgate/clock.py", "import time, random"),
    ("time and dice come from the clock", LAYER, "clock.monotonic()\nclock.random()"),
    ("excepts are narrow", LAYER, "try: x\nexcept (OSError, ValueError): y"),
    ("strings are not code", LAYER, "importlib.import_module('headgate.config_file')"),
    ("strings are not code", LAYER, "re.compile('a')"),
    ("SQL is fixed", STORE, "db.execute('select ?', (1,))\ndb.execute(SELECT, (1,))"),
    ("SQL is fixed", STORE, "db.execute('select ' 'a')\nself.db.execute(sql.SELECT + ' limit 1')"),
]


@pytest.mark.parametrize(("sentence", "path", "text"), BROKEN)
def test_a_rule_finds_what_breaks_it(sentence: str, path: str, text: str) -> None:
    findings = list(CHECKS[sentence](parse(path, text)))
    assert findings
    assert all(str(found).startswith(f"{path}:{found.line}: ") for found in findings)


@pytest.mark.parametrize(("sentence", "path", "text"), SOUND)
def test_a_rule_lets_sound_code_pass(sentence: str, path: str, text: str) -> None:
    assert list(CHECKS[sentence](parse(path, text))) == []


def test_every_rule_is_shown_to_bite() -> None:
    assert {sentence for sentence, _, _ in BROKEN} == set(CHECKS)


def test_an_exemption_covers_its_place_and_a_stale_one_is_found() -> None:
    findings = [Finding("a.py", 3, "f", "why"), Finding("b.py", 4, "", "why")]
    assert split(findings, ["a.py::f"]) == ([findings[1]], [])
    assert split(findings, ["a.py::f", "b.py", "c.py"]) == ([], ["c.py"])
