"""The whole loop on a real story model and real text, a minute's version: what it writes; a kill costs nothing."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tercih.metrics import read_metrics
from tercih.recipes.loop import TINY
from tercih.recipes.stories_ppo import RATERS

pytestmark = [pytest.mark.recipe, pytest.mark.data]

PROGRAM = """
import sys
from pathlib import Path
from tercih.recipes.stories_ppo import StoriesPPO, main
data, out, control, cluster = sys.argv[1:]
model, texts = Path(data, "models/stories260K"), Path(data, "text/tinystories/tinystories_v2_10k_lines.txt.xz")
main(StoriesPPO(model=str(model), data=texts, out=Path(out), tiny=True, control=control, cluster=cluster))
"""
PASSING = ("minutes", "peak_rss_mb")


def start(data_dir: Path, out: Path, control: str = "none", cluster: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(data_dir), str(out), control, cluster],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def finish(data_dir: Path, out: Path, control: str = "none") -> str:
    process = start(data_dir, out, control)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return said


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def whole(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stories") / "run"
    said = finish(data_dir, out)
    assert "report.html" in said
    return out


def estimate(found: dict[str, Any], most: int) -> None:
    assert found["low"] <= found["value"] <= found["high"]
    assert found["low"] >= 0
    assert found["high"] <= 1
    assert 0 < found["n"] <= most


def test_the_summary_has_its_numbers(whole: Path) -> None:
    summary = read(whole / "summary.json")
    for pair in ("gold_mean", "distinct2"):
        assert all(math.isfinite(summary[pair][name]) for name in ("base", "policy"))
    assert -1 <= summary["gold_mean"]["base"] <= 1
    assert 0 < summary["distinct2"]["policy"] <= 1
    estimate(summary["gold_win_rate"], TINY.evaluation.prompts)
    assert summary["gold_win_rate"]["n"] == TINY.evaluation.prompts
    estimate(summary["reward_model"]["accuracy"], TINY.feedback.heldout_pairs)
    assert 0 <= summary["reward_model"]["ece"] <= 1
    assert math.isfinite(summary["kl_nats"])
    assert 0 < summary["minutes"] < 30
    assert 100 < summary["peak_rss_mb"] < 16_000
    assert (summary["seed"], summary["control"]) == (0, "none")


def test_the_run_folder_holds_every_stage(whole: Path) -> None:
    stages = [stage["name"] for stage in read(whole / "stages.json")]
    assert stages == ["pairs", "labels", "consensus", "reward_model", "ppo", "evaluation"]
    assert {rater["rater"] for rater in read(whole / "raters.json")} == {rater.name for rater in RATERS}
    assert all(rater["simulated"] for rater in read(whole / "raters.json"))
    assert len(read_metrics(whole / "ppo")) == TINY.policy.steps
    assert (whole / "report.html").stat().st_size > 10_000
    assert len((whole / "samples.jsonl").read_text().splitlines()) == TINY.evaluation.prompts
    assert not list(whole.rglob("*.partial"))


def test_both_models_load_elsewhere(whole: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for folder in (whole / "ppo", whole / "reward_model"):
        model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        ids = tokenizer("Once upon a time", return_tensors="pt").input_ids
        assert model(ids).logits.isfinite().all()


def test_killed_twice_it_ends_with_the_same_numbers(whole: Path, data_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for sign in (out / "reward_model" / "checkpoints", out / "ppo" / "checkpoints"):
        process = start(data_dir, out)
        until = time.monotonic() + 300
        while not list(sign.glob("step-*.pt")):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.05)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    done = [stage["name"] for stage in read(out / "stages.json")]
    assert "ppo" not in done
    said = finish(data_dir, out)
    assert "Learn the reward: done before" in said
    ours, theirs = read(out / "summary.json"), read(whole / "summary.json")
    assert ours.keys() == theirs.keys()
    assert {k: v for k, v in ours.items() if k not in PASSING} == {k: v for k, v in theirs.items() if k not in PASSING}
    for name in ("samples.jsonl", "raters.json", "evaluation.json", "ppo/metrics.jsonl", "reward_model/metrics.jsonl"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


def test_another_control_is_another_run(whole: Path, data_dir: Path) -> None:
    before = (whole / "summary.json").read_bytes()
    process = start(data_dir, whole, "shuffled-labels")
    said, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "control was 'none', now 'shuffled-labels'" in said
    assert (whole / "summary.json").read_bytes() == before


def test_on_a_cluster_with_a_killed_worker_it_ends_with_the_same_numbers(
    whole: Path, data_dir: Path, tmp_path: Path
) -> None:
    """Rollout workers in processes of their own, one of them killed while it samples; up to rounding."""
    pytest.importorskip("ray")
    out = tmp_path / "run"
    process = start(data_dir, out, cluster="local")
    until, killed = time.monotonic() + 400, 0
    while process.poll() is None:
        assert time.monotonic() < until
        for worker in sampling(process.pid) if not killed else ():
            os.kill(worker, signal.SIGKILL)
            killed = worker
            break
        time.sleep(0.01)
    said = process.communicate()[0]
    assert process.returncode == 0, said
    assert killed, "no worker was seen at work"
    for mine, theirs in zip(read_metrics(out / "ppo"), read_metrics(whole / "ppo"), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-3, rel=1e-3)
    assert read(out / "summary.json")["gold_mean"] == pytest.approx(read(whole / "summary.json")["gold_mean"], abs=1e-3)


def sampling(pid: int) -> list[int]:
    """Descendants of a process that are rollout workers with a task in their hands, which Ray gives as their title."""
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            try:
                title = Path(f"/proc/{child}/cmdline").read_bytes()
            except FileNotFoundError:
                continue
            found += [child] if b"ray::RolloutWorker.generate" in title else []
            found += sampling(child)
    return found
