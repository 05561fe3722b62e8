"""Supervised fine-tuning on the chosen answers of HH, then DPO on the pairs (Rafailov et al. 2023, arXiv:2305.18290).

The implicit reward β·log(π/π0) is judged on held-out pairs like any reward model, beside the reference's own
likelihood and the length rule. The log-ratios of chosen and rejected answers are shown apart: both may fall while their
difference grows, and only the difference is trained. Without `--model` a small model from scratch stands in, which
learns surface, such as length and single words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tercih.algorithms.dpo import DPO
from tercih.algorithms.sft import SFT
from tercih.data import collate
from tercih.data.offline import Offline
from tercih.evaluation.intervals import Estimate, bootstrap_mean
from tercih.evaluation.reward_model import accuracy
from tercih.forward import Models
from tercih.models.language_model import LanguageModel, Reference
from tercih.models.load import load_causal, load_policy, save_model
from tercih.ops import row_sum
from tercih.optimisation import Optimisation
from tercih.progress import console
from tercih.recipes import hh_pairs
from tercih.recipes.hh_pairs import Floats, HHData, HHSettings, adapt, learning_rate, percent, prepare, read
from tercih.records import Comparison, Demonstration
from tercih.report import write_report
from tercih.run import Run, peak_rss_mb, read_json, write_json
from tercih.tokens import Tokens
from tercih.train import fit

JUDGED_PAIRS = 16  # in one forward pass without gradient


@dataclass(frozen=True, kw_only=True, slots=True)
class HHDPO(HHSettings):
    """SFT on chosen answers, then DPO on the pairs."""

    out: Path = Path("runs/hh_dpo")
    """Run folder; the same command on the same folder goes on where it was."""
    sft_epochs: int = 1
    sft_lr: float | None = None
    """Peak learning rate. None: 2e-3 from scratch, 1e-5 for a pre-trained model, 1e-4 for an adapter."""
    epochs: int = 1
    lr: float | None = None
    """Peak learning rate. None: 1e-4 from scratch, 5e-7 for a pre-trained model, 5e-6 for an adapter."""
    method: DPO = DPO()


def main(config: HHDPO) -> dict[str, Any]:
    records = read(config)
    run = Run(config.out, "hh_dpo", config, seed=config.seed, control=config.control, simulated_raters=False)
    data = prepare(run, config, records)
    started = run.stage("sft", "Imitate the chosen answers (SFT)", lambda folder: imitate(folder, config, data))
    policy = run.stage("dpo", "Prefer them (DPO)", lambda folder: prefer(folder, started, config, data))
    run.stage(
        "evaluation", "Judge held-out pairs", lambda folder: evaluate(folder, started, policy, config.method.beta, data)
    )
    judged = read_json(run.folder / "evaluation" / "heldout.json")
    cost = {"minutes": round(run.minutes, 2), "peak_rss_mb": peak_rss_mb()}
    summary: dict[str, Any] = hh_pairs.summary_of(judged, config, data) | judged["dpo"] | cost
    write_json(run.folder / "summary.json", summary)
    write_json(run.folder / "evaluation.json", {"calibration": judged["calibration"]})
    run.finish()
    write_report(run.folder)
    hh_pairs.announce(summary, run)
    announce_ratios(judged["dpo"])
    return summary


def imitate(folder: Path, config: HHDPO, data: HHData) -> str:
    """An adapter is saved merged, so that DPO's reference is this model."""
    model = LanguageModel(load_causal(data.base, memory=config.memory))
    adapt(model, config)
    chosen = Offline(
        records=[Demonstration(item=hh_pairs.winner(r)) for r in data.train],
        collate=lambda rows: collate.demonstrations(sorted(rows, key=_length), data.tokenizer, data.context),
        size=config.pairs_per_step,
        epochs=config.sft_epochs,
        seed=config.seed,
    )
    lr = config.sft_lr or learning_rate(config, scratch=2e-3, whole=1e-5, adapter=1e-4)
    optimisation = Optimisation(lr=lr, warmup=0.05, micro_rows=config.micro_rows)
    metrics = fit(SFT(), Models(policy=model), chosen, optimisation, folder, title="imitating the chosen answers")
    save_model(model, data.tokenizer.hf, folder)
    return f"{len(data.train)} answers, lr {lr:g}, {metrics['nats_per_token']:.2f} nats per token at the end"


def prefer(folder: Path, started: Path, config: HHDPO, data: HHData) -> str:
    policy = LanguageModel(load_causal(started, memory=config.memory))
    adapt(policy, config)
    models = Models(policy=policy, reference=Reference(policy))
    lr = config.lr or learning_rate(config, scratch=1e-4, whole=5e-7, adapter=5e-6)
    optimisation = Optimisation(lr=lr, warmup=0.1, micro_rows=config.micro_rows)
    metrics = fit(config.method, models, data.batches(config, config.epochs), optimisation, folder, title="DPO")
    save_model(policy, data.tokenizer.hf, folder)
    return f"{len(data.train)} pairs, lr {lr:g}: loss {metrics['loss']:.3f} at the end"


def evaluate(folder: Path, started: Path, policy: Path, beta: float, data: HHData) -> str:
    """The implicit reward, and for comparison what the reference alone thinks likelier."""
    reference_N2 = log_likelihoods(load_policy(started), data.heldout, data)
    ratio_N2 = log_likelihoods(load_policy(policy), data.heldout, data) - reference_N2
    first = np.array([record.answer == "a" for record in data.heldout])
    chosen, rejected = np.where(first, *ratio_N2.T), np.where(first, *ratio_N2.T[::-1])
    dpo = {
        "reference_accuracy": accuracy(reference_N2[:, 0] - reference_N2[:, 1], first).as_dict(),
        "chosen_log_ratio": bootstrap_mean(chosen, seed=0).as_dict(),
        "rejected_log_ratio": bootstrap_mean(rejected, seed=0).as_dict(),
    }
    write_json(folder / "heldout.json", hh_pairs.judge(beta * (ratio_N2[:, 0] - ratio_N2[:, 1]), data) | {"dpo": dpo})
    return f"{len(data.heldout)} held-out pairs"


@torch.no_grad()
def log_likelihoods(model: LanguageModel, records: Sequence[Comparison], data: HHData) -> Floats:
    """log π of both whole answers of every pair, shape (N, 2)."""
    device = next(model.parameters()).device
    logp_N2 = np.zeros((len(records), 2))
    order = sorted(range(len(records)), key=lambda i: hh_pairs.length_of_pair(records[i]))
    for start in range(0, len(order), JUDGED_PAIRS):
        part = order[start : start + JUDGED_PAIRS]
        tokens: Tokens = collate.pairs([records[i] for i in part], data.tokenizer, data.context).tokens.to(device)
        logp_N2[part] = row_sum(model(tokens).logp_BT, tokens.loss_mask_BT).double().cpu().numpy().reshape(-1, 2)
    return logp_N2


def announce_ratios(dpo: dict[str, Any]) -> None:
    reference = Estimate(**dpo["reference_accuracy"])
    chosen, rejected = Estimate(**dpo["chosen_log_ratio"]), Estimate(**dpo["rejected_log_ratio"])
    console.print(
        f"the reference's own likelihood is right on {percent(reference)}\n"
        f"log(π/π0) of chosen answers {chosen}, of rejected ones {rejected}: only the difference is trained"
    )


def _length(record: Demonstration) -> int:
    return hh_pairs.letters(record.item.prompt) + hh_pairs.letters(record.item.completion)
