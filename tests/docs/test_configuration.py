"""docs/configuration.md against the code: every setting, its default, its kind and its line."""

from __future__ import annotations

import re
from pathlib import Path

from headgate import config_file
from headgate.config_file_show import Setting, reference
from headgate.surfaces import admin_client

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text("utf-8")
ROW = re.compile(r"^\| `(.+?)` \| (?:`(.*?)`)? ?\| (.+?) \| (.+) \|$", re.M)


def sections() -> dict[str, str]:
    """What stands below each heading."""
    return dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))


def test_the_page_shows_every_setting_as_the_code_has_it() -> None:
    shown = [
        Setting(section.strip("[]"), name, kind, default, line)
        for section, text in sections().items()
        if section.startswith("[")
        for name, default, kind, line in ROW.findall(text)
    ]
    assert shown == reference()


def test_the_page_names_the_variables_that_the_code_reads() -> None:
    told = set(re.findall(r"`([A-Z][A-Z_]+)`", sections()["Environment variables"]))
    sdk = {f"{kind.upper()}_{part}" for kind in ("openai", "anthropic")
           for part in ("API_KEY", "BASE_URL")}  # fmt: skip
    read = {
        config_file.CONFIG_VARIABLE, *config_file._OVERRIDES.values(),
        admin_client.URL_VARIABLE, admin_client.TOKEN_VARIABLE, "NO_COLOR",
    }  # fmt: skip
    assert told == read | sdk
