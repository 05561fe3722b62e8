"""Every loss that TRL has too, on the same frozen tensors: the loss and its gradient, ours beside theirs.

    python benchmarks/parity.py [--peers FOLDER] [--write docs/parity.md]

Three small tables of logits (policy, the policy that sampled, reference), answers of unlike lengths and rewards are
drawn once and written to a file, which both sides read: ours in this Python, TRL's in its own (`peers.sh`). Fails where
they differ by more than is written down, and where a difference that is written down is not there.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from harness.frozen import PROMPTS, SAMPLES, Found, Frozen, S, Table, frozen, load, read
from harness.turns import HERE
from torch import Tensor, nn

from tercih.algorithms.bradley_terry import BradleyTerry
from tercih.algorithms.conservative_dpo import ConservativeDPO
from tercih.algorithms.cpo import CPO
from tercih.algorithms.dapo import DAPO
from tercih.algorithms.dpo import DPO
from tercih.algorithms.dr_grpo import DrGRPO
from tercih.algorithms.grpo import GRPO
from tercih.algorithms.gspo import GSPO
from tercih.algorithms.ipo import IPO
from tercih.algorithms.kto import KTO
from tercih.algorithms.nash_md import NashMD
from tercih.algorithms.online_dpo import OnlineDPO
from tercih.algorithms.orpo import ORPO
from tercih.algorithms.rloo import RLOO
from tercih.algorithms.robust_dpo import RobustDPO
from tercih.algorithms.sft import SFT
from tercih.algorithms.simpo import SimPO
from tercih.algorithms.slic import SLiC
from tercih.batches import Batch, Pairs, Rollout, Thumbs
from tercih.forward import Models
from tercih.method import Method
from tercih.models.language_model import LanguageModel, Reference
from tercih.models.mixture import geometric
from tercih.tokens import Tokens

AGREE = 1e-5
SEED = 0
PEERS = {"trl116": "TRL 1.16", "trl112": "TRL 1.12"}
STARTS_AND_ENDS = "<!-- {} of the table that benchmarks/parity.py writes -->"


@dataclass(frozen=True, kw_only=True)
class Case:
    """`theirs` says what is called on TRL's side. `differs` is the reason where the two are not the same; `value` is
    False where only gradients can be: losses whose value says nothing."""

    method: Method | None
    batch: Callable[[Frozen], Any]
    theirs: str
    differs: str = ""
    value: bool = True
    only: str = ""
    """The one term of our loss that is compared, where it is not all of it."""


def tokens(data: Frozen, samples: int = SAMPLES) -> Tokens:
    """With `samples` answers to a prompt."""
    prompts = PROMPTS * SAMPLES // samples
    return Tokens(
        prompt_ids_PS=data.prompt_ids_BS[::samples],
        prompt_len_P=torch.full((prompts,), S),
        response_ids_BT=data.response_ids_BT,
        response_len_B=data.length_B,
        prompt_of_B=torch.arange(PROMPTS * SAMPLES) // samples,
        loss_mask_BT=data.mask_BT,
    )


def pairs(data: Frozen) -> Pairs:
    first_N = torch.arange(0, PROMPTS * SAMPLES, 2)
    return Pairs(
        tokens=tokens(data), first_row_N=first_N, second_row_N=first_N + 1,
        target_N3=torch.tensor([1.0, 0.0, 0.0]).expand(len(first_N), -1), weight_N=torch.ones(len(first_N)),
        margin_N=torch.zeros(len(first_N)),
    )  # fmt: skip


def with_margin(data: Frozen) -> Pairs:
    return replace(pairs(data), margin_N=data.margin_N)


def thumbs(data: Frozen) -> Thumbs:
    return Thumbs(tokens=tokens(data), good_B=data.good_B.float(), weight_B=torch.ones(len(data.good_B)))


def rollout(data: Frozen, samples: int = SAMPLES, *, flat: bool = False, on_policy: bool = False) -> Rollout:
    made, sampled = tokens(data, samples), data.policy_XV if on_policy else data.old_XV
    alike_B = made.prompt_of_B == 0 if flat else torch.zeros(made.rows, dtype=torch.bool)
    with torch.no_grad():
        logp_BT = LanguageModel(Table(sampled))(made).logp_BT
    assert logp_BT is not None
    return Rollout(
        tokens=made, logp_BT=logp_BT, reward_B=torch.where(alike_B, 0.0, data.reward_B),
        ended_B=torch.ones(made.rows, dtype=torch.bool), parts={}, version=0,
    )  # fmt: skip


def matches(data: Frozen) -> Rollout:
    """Rewards are the chances to be preferred to a rival's answers."""
    return replace(rollout(data, on_policy=True), reward_B=torch.sigmoid(data.reward_B - data.rival_reward_B))


def demonstrations(data: Frozen) -> Batch:
    return Batch(tokens=tokens(data))


CLIP, LONGEST = 0.2, 6.0
DPO_CALL, CPO_CALL = "`DPOTrainer._compute_loss`", "`CPOTrainer.get_batch_loss_metrics`"
GRPO_CALL = "`GRPOTrainer._generate_and_score_completions`, `._compute_loss`"
RLOO_CALL = "`RLOOTrainer._generate_and_score_completions`, `._compute_loss`"
ONLINE_CALL = "`OnlineDPOTrainer.training_step`"

CASES = {
    "sft": Case(method=SFT(), batch=demonstrations, theirs="`SFTTrainer.compute_loss`"),
    "bradley_terry": Case(method=BradleyTerry(), batch=pairs, theirs="`RewardTrainer.compute_loss`"),
    "bradley_terry, margin and centre": Case(
        method=BradleyTerry(centre_coef=0.01), batch=with_margin,
        theirs="the same, `margin` and `center_rewards_coefficient`",
    ),
    "dpo": Case(method=DPO(), batch=pairs, theirs=f"{DPO_CALL}, `sigmoid`"),
    "dpo, forward KL": Case(
        method=DPO(divergence="forward_kl"), batch=pairs, theirs="the same, `f_divergence_type=forward_kl`"
    ),
    "dpo, Jensen–Shannon": Case(method=DPO(divergence="js"), batch=pairs, theirs="the same, `js_divergence`"),
    "dpo, Hellinger": Case(
        method=DPO(divergence="hellinger"), batch=pairs, theirs="the same, `alpha_divergence` of α = ½"
    ),
    "dpo, Neyman χ²": Case(
        method=DPO(divergence="neyman_chi2"), batch=pairs,
        theirs="the same, `alpha_divergence` of α = −1 at 2β: it is half of ours",
    ),
    "conservative_dpo": Case(
        method=ConservativeDPO(), batch=pairs, theirs="`CPOTrainer.cpo_loss` with `label_smoothing`, of log-ratios"
    ),
    "robust_dpo": Case(method=RobustDPO(), batch=pairs, theirs=f"{DPO_CALL}, `robust`"),
    "ipo, per token": Case(method=IPO(per_token=True), batch=pairs, theirs=f"{DPO_CALL}, `ipo`"),
    "ipo": Case(method=IPO(), batch=pairs, theirs=f"{ONLINE_CALL}, `ipo`"),
    "online_dpo": Case(
        method=OnlineDPO(), batch=lambda data: rollout(data, 2), theirs=f"{ONLINE_CALL}, `sigmoid`"
    ),
    "kto": Case(
        method=KTO(desirable=1.2, undesirable=0.9), batch=thumbs, theirs="`KTOTrainer._compute_loss`"
    ),
    "cpo, without imitation": Case(method=CPO(nll_coef=0.0), batch=pairs, theirs=f"{CPO_CALL}, `cpo_alpha=0`"),
    "cpo": Case(
        method=CPO(), batch=pairs, theirs=f"{CPO_CALL}, `sigmoid`",
        differs="the paper's −log π(y) of a whole answer (eq. 5), a mean over pairs; TRL has the mean over all tokens"
        " of the better answers, which is smaller by their mean length",
    ),
    "simpo": Case(method=SimPO(), batch=pairs, theirs=f"{CPO_CALL}, `simpo`, `cpo_alpha=0`"),
    "slic, without imitation": Case(
        method=SLiC(lam=0.0), batch=pairs, theirs=f"{CPO_CALL}, `hinge`, β = 1, `cpo_alpha=0`"
    ),
    "orpo, odds alone": Case(method=ORPO(), batch=pairs, only="preference", theirs="`ORPOTrainer.odds_ratio_loss`"),
    "orpo": Case(
        method=ORPO(), batch=pairs, theirs="`ORPOTrainer.get_batch_loss_metrics`",
        differs="TRL's likelihood term is of prompt and answer, and a mean over all tokens of the batch; ours is of the"
        " answer alone, a mean over its tokens and then over pairs (eq. 2 and 6)",
    ),
    "rloo": Case(
        method=RLOO(kl_coef=0.05), batch=lambda data: rollout(data, on_policy=True), theirs=RLOO_CALL, value=False,
    ),
    "rloo, off policy": Case(
        method=RLOO(kl_coef=0.05), batch=rollout, theirs="the same, several updates a rollout", value=False,
        differs="TRL clips a ratio of whole answers, as PPO does; ours has one update a rollout, where the ratio is 1",
    ),
    "grpo": Case(method=GRPO(), batch=rollout, theirs=f"{GRPO_CALL}, `grpo`, `use_bias_correction_kl=False`"),
    "grpo, corrected KL": Case(
        method=GRPO(), batch=rollout, theirs="the same, as TRL has it by default (`use_bias_correction_kl`)",
        differs="TRL multiplies k3 by the ratio, so that its gradient is that of KL(π‖π0); ours is the paper's eq. 4,"
        " and its page says what that gradient is",
    ),
    "dr_grpo": Case(
        method=DrGRPO(kl_coef=0.04, constant_length=LONGEST), batch=rollout,
        theirs="the same, `dr_grpo`, `scale_rewards=none`",
    ),
    "gspo": Case(
        method=GSPO(kl_coef=0.04, clip_low=0.03, clip_high=0.04, minibatches=1), batch=rollout,
        theirs="the same, `grpo`, `importance_sampling_level=sequence`",
    ),
    "dapo": Case(method=DAPO(minibatches=1), batch=rollout, theirs="the same, `dapo`"),
    "dapo as bnpo": Case(
        method=DAPO(minibatches=1, clip_low=CLIP, clip_high=CLIP), batch=rollout, theirs="the same, `bnpo`"
    ),
    "dapo, a group all alike": Case(
        method=DAPO(minibatches=1), batch=lambda data: rollout(data, flat=True), theirs="the same, `dapo`",
        differs="ours leaves out groups without spread (eq. 11); TRL counts their tokens in the mean",
    ),
    "nash_md, without KL": Case(
        method=NashMD(tau=1e-12), batch=matches, theirs="`NashMDTrainer._compute_logprobs`, `._compute_losses`, 1.12"
    ),
    "nash_md": Case(
        method=NashMD(tau=0.1), batch=matches, theirs="the same, β = 0.1", value=False,
        differs="TRL multiplies each token's log-ratio with that token's log-probability alone, so that no token is"
        " told what it makes later ones cost: its mean is not the gradient of KL(π‖π0); ours is",
    ),
    "the mixture of nash_md": Case(
        method=None, batch=tokens,
        theirs="`GeometricMixtureWrapper.forward`, 1.12: log-probabilities of all tokens, in place of a gradient",
    ),
}  # fmt: skip


class Scores(nn.Module):
    def __init__(self, score_B: Tensor) -> None:
        super().__init__()
        self.score_B = nn.Parameter(score_B.clone())

    def forward(self, _: Tokens) -> Tensor:
        return self.score_B


def ours(case: Case, data: Frozen) -> tuple[float, Tensor]:
    """By the method itself, through the forward pass of every model; added up as the loop does."""
    assert case.method is not None
    if case.method.trains == "reward_model":
        scores = Scores(data.score_B)
        models, weight = Models(policy=scores), scores.score_B
    else:
        table = Table(data.policy_XV)
        reference = Reference(LanguageModel(Table(data.reference_XV)))
        models, weight = Models(policy=LanguageModel(table), reference=reference), table.head.weight
    item = case.batch(data)
    (batch,) = case.method.batches(item, models, case.method.init(models))
    assert isinstance(batch, Batch)
    units = batch.units()
    terms = case.method.loss(models.policy, batch).terms
    parts = [t.weight * t.sum / units[t.per] for name, t in terms.items() if t.weight and case.only in ("", name)]
    loss = torch.stack(parts).sum()
    (gradient,) = torch.autograd.grad(loss, weight)
    return float(loss.detach()), gradient


def mixture(data: Frozen) -> tuple[float, Tensor]:
    """Log-probabilities of the answers in place of a gradient."""
    reference = Reference(LanguageModel(Table(data.reference_XV)))
    with torch.no_grad():
        logp_BT = geometric(LanguageModel(Table(data.policy_XV)), reference, 0.25)(tokens(data)).logp_BT
    assert logp_BT is not None
    return float(logp_BT.sum()), logp_BT


def all_of_ours(data: Frozen) -> Found:
    return {name: ours(case, data) if case.method else mixture(data) for name, case in CASES.items()}


@dataclass(frozen=True)
class Row:
    name: str
    case: Case
    loss: float
    apart: float  # by how much the losses differ
    slope_apart: float  # and gradients, at most

    @property
    def agrees(self) -> bool:
        return self.slope_apart <= AGREE and (self.apart <= AGREE or not self.case.value)

    @property
    def as_said(self) -> bool:
        return self.agrees != bool(self.case.differs)

    def __str__(self) -> str:
        value = f"{self.loss:.6f}" if self.case.value else "—"
        apart = f"{self.apart:.1e}" if self.case.value else "—"
        verdict = f"differs: {self.case.differs}" if self.case.differs else "agrees"
        return f"| {self.name} | {self.case.theirs} | {value} | {apart} | {self.slope_apart:.1e} | {verdict} |"


def compared(found: Found, theirs: Found) -> list[Row]:
    """KeyError where a side lacks a case."""
    rows = []
    for name, case in CASES.items():
        (loss, gradient), (their_loss, their_gradient) = found[name], theirs[name]
        rows.append(Row(name, case, loss, abs(loss - their_loss), float((gradient - their_gradient).abs().max())))
    return rows


def ask(peers: Path, frozen_at: Path, folder: Path) -> Found:
    """What the peers find. SystemExit with their own words where they fail."""
    theirs: Found = {}
    for name in PEERS:
        python = peers / name / "bin" / "python"
        if not python.exists():
            raise SystemExit(f"{python} is not there: make it with benchmarks/peers.sh {peers}")
        script, answers = HERE / "sides" / f"parity{name.removeprefix('trl')}.py", folder / f"{name}.npz"
        done = subprocess.run(
            [python, script, frozen_at, answers], text=True, capture_output=True, check=False,
            env={"PYTHONPATH": str(HERE), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{PEERS[name]} failed:\n{done.stderr[-3000:]}")
        theirs |= read(answers)
    return theirs


def table(rows: Sequence[Row]) -> str:
    head = "| ours | TRL's | loss | difference | largest difference of the gradient | |\n|---|---|---|---|---|---|"
    return "\n".join([head, *map(str, rows)])


def put(text: str, page: Path) -> None:
    """Between the two marks of the page."""
    begins, ends = STARTS_AND_ENDS.format("start"), STARTS_AND_ENDS.format("end")
    before, rest = page.read_text().split(begins)
    page.write_text(f"{before}{begins}\n{text}\n{ends}{rest.split(ends)[1]}")


def main(words: Sequence[str]) -> int:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--peers", type=Path, default=HERE.parent / ".peers", help="the folder that peers.sh made")
    made.add_argument("--write", type=Path, help="the page whose table is written anew")
    made.add_argument("--seed", type=int, default=SEED)
    options = made.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="tercih-parity-") as name:
        frozen_at = Path(name) / "frozen.npz"
        frozen(options.seed).save(frozen_at)
        rows = compared(all_of_ours(load(frozen_at)), ask(options.peers, frozen_at, Path(name)))
    print(table(rows))
    if options.write:
        put(table(rows), options.write)
    wrong = [row.name for row in rows if not row.as_said]
    if wrong:
        print(f"not as written down: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
