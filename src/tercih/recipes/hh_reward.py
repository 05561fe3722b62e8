"""A reward model of Anthropic's helpful and harmless pairs (Bai et al. 2022, arXiv:2204.05862), beside the length rule.

With `--model` it starts from any causal model of the Hub (`--lora 16` trains an adapter). Without one it makes a
small Llama from scratch, so that it runs offline in minutes; such a model learns surface, such as length and single
words, which is why every accuracy stands beside that of a rule that looks at length alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tercih.algorithms.bradley_terry import BradleyTerry
from tercih.forward import Models
from tercih.models.load import load_causal, load_reward_model, save_model
from tercih.models.reward_model import RewardModel
from tercih.optimisation import Optimisation
from tercih.recipes.hh_pairs import HHData, HHSettings, adapt, announce, judge, learning_rate, prepare, read, summary_of
from tercih.report import write_report
from tercih.rewards import LearnedReward
from tercih.run import Run, peak_rss_mb, read_json, write_json
from tercih.train import fit


@dataclass(frozen=True, kw_only=True, slots=True)
class HHReward(HHSettings):
    """A Bradley-Terry reward model of helpful and harmless pairs."""

    out: Path = Path("runs/hh_reward")
    """Run folder; the same command on the same folder goes on where it was."""
    epochs: int | None = None
    """None: 2 from scratch, else 1."""
    lr: float | None = None
    """Peak learning rate. None: 3e-3 from scratch, 1e-5 for a pre-trained model, 1e-4 for an adapter."""
    readout: str | None = None
    """Where the score is read: "last" token or "mean" over the response. None: mean from scratch, else last."""
    method: BradleyTerry = BradleyTerry()


def main(config: HHReward) -> dict[str, Any]:
    records = read(config)
    run = Run(config.out, "hh_reward", config, seed=config.seed, control=config.control, simulated_raters=False)
    data = prepare(run, config, records)
    learned = run.stage("reward_model", "Learn the reward", lambda folder: learn(folder, config, data))
    run.stage("evaluation", "Judge held-out pairs", lambda folder: evaluate(folder, learned, data))
    judged = read_json(run.folder / "evaluation" / "heldout.json")
    cost = {"minutes": round(run.minutes, 2), "peak_rss_mb": peak_rss_mb()}
    summary = summary_of(judged, config, data) | cost
    write_json(run.folder / "summary.json", summary)
    write_json(run.folder / "evaluation.json", {"calibration": judged["calibration"]})
    run.finish()
    write_report(run.folder)
    announce(summary, run)
    return summary


def learn(folder: Path, config: HHReward, data: HHData) -> str:
    readout = config.readout or ("last" if config.model else "mean")
    model = RewardModel(load_causal(data.base, memory=config.memory), readout=readout, seed=config.seed)
    adapt(model, config)
    optimisation = Optimisation(
        lr=config.lr or learning_rate(config, scratch=3e-3, whole=1e-5, adapter=1e-4),
        warmup=0.05,
        weight_decay=0.01,
        micro_rows=config.micro_rows,
    )
    batches = data.batches(config, config.epochs or (1 if config.model else 2))
    metrics = fit(config.method, Models(policy=model), batches, optimisation, folder, title="learning the reward")
    save_model(model, data.tokenizer.hf, folder)
    return f"{len(data.train)} pairs, lr {optimisation.lr:g}, readout {readout}: loss {metrics['loss']:.3f} at the end"


def evaluate(folder: Path, learned: Path, data: HHData) -> str:
    source = LearnedReward(load_reward_model(learned), data.tokenizer)
    items = [item for record in data.heldout for item in (record.a, record.b)]
    score = source.score(items).reward_BC[:, 0].double().numpy()
    judged = judge(score[0::2] - score[1::2], data)
    write_json(folder / "heldout.json", judged)
    return f"{len(data.heldout)} held-out pairs, calibration error {judged['calibration']['ece']:.3f}"
