"""Every published set, downloaded by `datasets` itself from a Hub on this machine that holds a few rows of each,
in files that lie as those of the real one do."""

import gzip
import json
import os
import subprocess
import sys
from threading import Thread
from typing import Any

import datasets
import pytest

from sources.hub_server import Hub
from sources.published import ALPACA, AXES, BINARIZED, HELPSTEER, RED_TEAM, SHP, TLDR, TREE, WEBGPT, Row, flat

DIALOGUE = {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello.", "rejected": "\n\nHuman: Hi\n\nAssistant: No."}
PREFERENCE = {"prompt": "p", "response_1": "a", "response_2": "b", "preference_strength": 2, "split": "val"}
HELPSTEER3 = {
    "domain": "general", "language": "english", "context": [{"role": "user", "content": "Hi"}],
    "response1": "a", "response2": "b", "overall_preference": -2,
}  # fmt: skip
CONFIGURED = """---
configs:
- config_name: preference
  data_files:
  - split: validation
    path: preference/validation*
---
"""

WANTED = {
    "shp:hub:askculinary/:test?score_ratio=2": "1 Comparison",
    "shp:hub": "3 Comparison",
    "tldr:hub:comparisons:validation": "2 Comparison",
    "tldr:hub:axis:test": "3 Rating",
    "tldr:hub:comparisons:train": "1 Comparison",
    "webgpt:hub": "2 Comparison",
    "ultrafeedback:hub/HuggingFaceH4/ultrafeedback_binarized:test_prefs": "1 Comparison",
    "helpsteer:hub/nvidia/HelpSteer2:validation": "5 Rating",
    "helpsteer:hub/nvidia/HelpSteer2:preference/:train?split=val": "1 Comparison",
    "helpsteer:hub/nvidia/HelpSteer3:preference:validation": "1 Comparison",
    "oasst:hub:validation?give=demonstrations": "1 Demonstration",
    "alpaca:hub": "1 Demonstration",
    "hh:hub:harmless-base/:test": "1 Comparison",
    "red_team:hub:red-team-attempts/:train": "1 Rating",
    "shp:hub:nosuch": 'Unknown split "nosuch"',
    "shp:hub/no/such": "cannot be loaded",
}


def lines(*rows: Row) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each of the names gives, asked from one program of its own: where the Hub is, is read when it starts."""
    folder = tmp_path_factory.mktemp("hub")

    def parquet(*rows: Row) -> bytes:
        datasets.Dataset.from_list(list(rows)).to_parquet(str(folder / "rows.parquet"))
        return (folder / "rows.parquet").read_bytes()

    sets: dict[str, dict[str, dict[str, bytes]]] = {
        "stanfordnlp/SHP": {"main": {
            "README.md": b"# SHP\n", "askculinary/train.json": lines(SHP, SHP), "askculinary/test.json": lines(SHP),
            "askhr/train.json": lines(SHP),
        }},
        "openai/summarize_from_feedback": {
            "main": {"summarize_from_feedback.py": b"import datasets\n", "README.md": b"# TL;DR\n"},
            "refs/convert/parquet": {
                "comparisons/train/0000.parquet": parquet(TLDR),
                "comparisons/validation/0000.parquet": parquet(TLDR, TLDR),
                "axis/test/0000.parquet": parquet(AXES),
            },
        },
        "openai/webgpt_comparisons": {
            "main": {"webgpt_comparisons.py": b"import datasets\n"},
            "refs/convert/parquet": {"default/train/0000.parquet": parquet(WEBGPT, WEBGPT)},
        },
        "HuggingFaceH4/ultrafeedback_binarized": {"main": {
            "data/train_prefs-00000-of-00001.parquet": parquet(BINARIZED, BINARIZED),
            "data/test_prefs-00000-of-00001.parquet": parquet(BINARIZED),
            "README.md": b"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train_prefs\n"
                         b"    path: data/train_prefs-*\n  - split: test_prefs\n    path: data/test_prefs-*\n---\n",
        }},
        "nvidia/HelpSteer2": {"main": {
            "train.jsonl.gz": packed(HELPSTEER, HELPSTEER), "validation.jsonl.gz": packed(HELPSTEER),
            "preference/preference.jsonl.gz": packed(PREFERENCE, PREFERENCE | {"split": "train"}),
        }},
        "nvidia/HelpSteer3": {"main": {
            "README.md": CONFIGURED.encode(), "preference/validation.jsonl.gz": packed(HELPSTEER3),
        }},
        "OpenAssistant/oasst1": {"main": {"data/validation-00000-of-00001.parquet": parquet(*flat(TREE))}},
        "tatsu-lab/alpaca": {"main": {"data/train-00000-of-00001.parquet": parquet(ALPACA)}},
        "Anthropic/hh-rlhf": {"main": {
            "harmless-base/test.jsonl.gz": packed(DIALOGUE), "harmless-base/train.jsonl.gz": packed(DIALOGUE, DIALOGUE),
            "red-team-attempts/red_team_attempts.jsonl.gz": packed(RED_TEAM),
        }},
    }  # fmt: skip
    hub = Hub(sets)
    Thread(target=hub.serve_forever, daemon=True).start()
    program = (
        "import json, sys\n"
        "from tercih.sources import SourceError, load\n"
        "told = {}\n"
        "for spec in sys.argv[1:]:\n"
        "    try:\n"
        "        records = load(spec)\n"
        "        told[spec] = f'{len(records)} ' + '/'.join(sorted({type(record).__name__ for record in records}))\n"
        "    except SourceError as error:\n"
        "        told[spec] = str(error)\n"
        "print(json.dumps(told))\n"
    )
    here = os.environ | {"HF_ENDPOINT": hub.address, "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "0"}
    run = subprocess.run(
        [sys.executable, "-c", program, *WANTED], env=here, capture_output=True, text=True, timeout=300, check=False
    )
    hub.shutdown()
    hub.server_close()
    assert run.returncode == 0, run.stderr
    told: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return told


def packed(*rows: Row) -> bytes:
    return gzip.compress(lines(*rows))


@pytest.mark.parametrize("spec", WANTED)
def test_a_set_is_downloaded(found: dict[str, str], spec: str) -> None:
    assert WANTED[spec] in found[spec]


def test_the_hub_that_has_no_such_set_is_told_of(found: dict[str, str]) -> None:
    assert "hub:no/such cannot be loaded" in found["shp:hub/no/such"]
