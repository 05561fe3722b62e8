"""All catalogues say all sentences, and pages say no others."""

import re
import string
from pathlib import Path

import pytest

from tercih.feedback import web
from tercih.feedback.acquisition import RULES
from tercih.feedback.kinds import CHOICES, EITHER, KINDS
from tercih.feedback.projects import Project
from tercih.feedback.web.keys import SCOPES
from tercih.feedback.web.languages import LANGUAGES, catalogue
from tercih.feedback.web.visits import ERRORS

WEB = Path(web.__file__).parent
ENGLISH = catalogue("en")
WHERE = re.compile(r'(?:raise AnswerError\(f?".*", |_(?:text|whole|choice)\(answer, )"(\w+)"')
BUILT = {
    "bias.": [
        "coverage", "n_eff", "anchoring", "agreement", "left", "flips", "split_half", "exam", "golds", "saved",
        "dissent", "entropy", "shift", "pass", "adjudicated", "retest", "seconds", "worst_task", "learning", "source",
    ],
    "lead.": ["since", "until"],
    "source.": ("rater", "kind", "sampler", "origin"), "rule.": RULES,
    "saves.": ("random", "early", "trial", "behind", "saves", "unsure"),
    "quality.warn_": ["golds", "drift", "lean"],  # of which a part is put in at run time
    "kind.": KINDS, "ask.": KINDS, "error.": [str(code) for code in ERRORS], "answer.broken.": EITHER,
    "setting.": list(Project.__dataclass_fields__),
    "stage.": ("tutorial", "exam", "passed", "failed"), "stage.now_": ("tutorial", "exam", "passed"),
    "role.": ("user", "assistant", "system", "tool"), "role_name.": ("rater", "lead", "admin", "service"),
    "state.": (
        "open", "full", "closed", "dissent", "withdrawn", "gold", "tutorial", "exam", "repeat", "active", "paused",
        "erased", "chat", "revoked",
    ),
    "live.": ("waiting", "nobody", "acting", "over", "stopped"), "scope.": SCOPES,
    "seat.": ("done", "skipped", "expired"), "label.": (*EITHER, "plausible", "supported"), "answer.": CHOICES[2:],
    "wrong.": (
        "answer", "note", "notes", "plausible", "supported",
        *re.findall(WHERE, (WEB.parent / "kinds.py").read_text()),
    ),
}  # fmt: skip


def fields(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_catalogue_is_whole(language: str) -> None:
    words = catalogue(language)
    assert set(words) == set(ENGLISH)
    assert [key for key in words if fields(words[key]) != fields(ENGLISH[key])] == []
    assert [key for key in words if not words[key].strip()] == []


def test_translations_are_translations() -> None:
    for language in ("tr", "zh-Hant", "zh-Hans"):
        same = [key for key, said in catalogue(language).items() if said == ENGLISH[key]]
        assert set(same) <= {"suggestion.text", "answer.text", "role_name.service"}, f"{language}: {same}"
    assert all(said not in "".join(catalogue("zh-Hant").values()) for said in ("视频", "项目", "设置", "登录"))


def used() -> set[str]:
    sources = [path.read_text() for path in (*WEB.rglob("*.html"), *WEB.glob("*.py"))]
    starts = "|".join({re.escape(key.split(".")[0]) for key in ENGLISH})
    pattern = re.compile(rf"[\"']((?:{starts})\.[\w.]*)[\"']")
    plain = {key for source in sources for key in pattern.findall(source)} | {"go_on"}
    return {key for key in plain if not key.endswith((".", "_"))} | {
        start + name for start, names in BUILT.items() for name in names
    }


def test_what_pages_say_is_in_the_catalogues() -> None:
    missing = {key for key in used() - set(ENGLISH) if not key.endswith(".html")}
    assert missing == set()


def test_no_sentence_is_left_over() -> None:
    assert set(ENGLISH) - used() == set()
