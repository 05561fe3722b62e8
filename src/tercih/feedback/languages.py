"""What pages say, in four languages: one JSON catalogue each, with the same keys."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

CATALOGUES = Path(__file__).parent / "catalogues"
LANGUAGES: Mapping[str, str] = {"en": "English", "tr": "Türkçe", "zh-Hant": "繁體中文", "zh-Hans": "简体中文"}
TRADITIONAL = ("zh-hant", "zh-tw", "zh-hk", "zh-mo")


@cache
def catalogue(language: str) -> Mapping[str, str]:
    words: dict[str, str] = json.loads((CATALOGUES / f"{language}.json").read_text(encoding="utf-8"))
    return words


def say(language: str, key: str, **values: object) -> str:
    """A sentence of the catalogue, with its {names} filled in. Raises KeyError for one that is not there."""
    sentence = catalogue(language)[key]
    return sentence.format(**values) if values else sentence


def preferred(accept: str) -> str:
    """The first of our languages that a browser's Accept-Language asks for; English where it asks for none of them."""
    wishes = []
    for place, part in enumerate(accept.split(",")[:20]):
        tag, _, quality = part.strip().lower().partition(";q=")
        try:
            wishes.append((-float(quality or 1), place, tag))
        except ValueError:
            continue
    for _, _, tag in sorted(wishes):
        if tag.startswith(TRADITIONAL):
            return "zh-Hant"
        if tag.startswith("zh"):
            return "zh-Hans"
        if tag[:2] in LANGUAGES:
            return tag[:2]
    return "en"
