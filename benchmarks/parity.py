"""Every loss that TRL has too, on the same frozen tensors: the loss and its gradient, ours beside theirs.

    python benchmarks/parity.py [--peers FOLDER] [--write docs/parity.md]

Three small tables of logits (policy, the policy that sampled, reference), answers of unlike lengths and rewards are
drawn once and written to a file, which both sides read: ours in this Python, TRL's in its own (`peers.sh`). Fails where
they differ by more than is written down, where a difference that is written down is not there, and where ours still
differs once it has what the reason says.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import our_side, reasons
from harness.frozen import Found, Frozen, frozen, load, read, to_the_end
from harness.our_side import (
    Ours,
    behind_a_word,
    by,
    demonstrations,
    matches,
    mixture,
    pairs,
    rollout,
    thumbs,
    with_margin,
)
from harness.turns import HERE

from tercih.algorithms.bradley_terry import BradleyTerry
from tercih.algorithms.conservative_dpo import ConservativeDPO
from tercih.algorithms.context_distillation import ContextDistillation
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
from tercih.algorithms.process_reward import ProcessReward
from tercih.algorithms.rloo import RLOO
from tercih.algorithms.robust_dpo import RobustDPO
from tercih.algorithms.sft import SFT
from tercih.algorithms.simpo import SimPO
from tercih.algorithms.slic import SLiC

AGREE = 1e-5
SEED = 0
PEERS = {"trl116": "TRL 1.16", "trl112": "TRL 1.12"}
STARTS_AND_ENDS = "<!-- {} of the table that benchmarks/parity.py writes -->"


@dataclass(frozen=True, kw_only=True)
class Case:
    """`theirs` says what is called on TRL's side. Where the two are not the same, `differs` is the reason, and
    `as_theirs` is ours with what it says. `value` is False where only gradients can be compared: losses whose value
    says nothing."""

    ours: Ours
    theirs: str
    differs: str = ""
    as_theirs: Ours | None = None
    value: bool = True


CLIP, LONGEST = 0.2, 6.0
DPO_CALL, CPO_CALL = "`DPOTrainer._compute_loss`", "`CPOTrainer.get_batch_loss_metrics`"
GRPO_CALL = "`GRPOTrainer._generate_and_score_completions`, `._compute_loss`"
RLOO_CALL = "`RLOOTrainer._generate_and_score_completions`, `._compute_loss`"
PPO_CALL = "`PPOTrainer.train`, 1.12"
ONLINE_CALL = "`OnlineDPOTrainer.training_step`"

CASES = {
    "sft": Case(ours=by(SFT(), demonstrations), theirs="`SFTTrainer.compute_loss`"),
    "bradley_terry": Case(ours=by(BradleyTerry(), pairs), theirs="`RewardTrainer.compute_loss`"),
    "bradley_terry, margin and centre": Case(
        ours=by(BradleyTerry(centre_coef=0.01), with_margin),
        theirs="the same, `margin` and `center_rewards_coefficient`",
    ),
    "process_reward": Case(
        ours=by(ProcessReward(), thumbs),
        theirs="`PRMTrainer.tokenize_row`, `.compute_loss`, 1.12, of two classes whose log-odds are the score",
    ),
    "dpo": Case(ours=by(DPO(), pairs), theirs=f"{DPO_CALL}, `sigmoid`"),
    "dpo, forward KL": Case(
        ours=by(DPO(divergence="forward_kl"), pairs), theirs="the same, `f_divergence_type=forward_kl`"
    ),
    "dpo, Jensen–Shannon": Case(ours=by(DPO(divergence="js"), pairs), theirs="the same, `js_divergence`"),
    "dpo, Hellinger": Case(
        ours=by(DPO(divergence="hellinger"), pairs), theirs="the same, `alpha_divergence` of α = ½"
    ),
    "dpo, Neyman χ²": Case(
        ours=by(DPO(divergence="neyman_chi2"), pairs),
        theirs="the same, `alpha_divergence` of α = −1 at 2β: it is half of ours",
    ),
    "conservative_dpo": Case(
        ours=by(ConservativeDPO(), pairs), theirs="`CPOTrainer.cpo_loss` with `label_smoothing`, of log-ratios"
    ),
    "robust_dpo": Case(ours=by(RobustDPO(), pairs), theirs=f"{DPO_CALL}, `robust`"),
    "ipo, per token": Case(ours=by(IPO(per_token=True), pairs), theirs=f"{DPO_CALL}, `ipo`"),
    "ipo": Case(ours=by(IPO(), pairs), theirs=f"{ONLINE_CALL}, `ipo`"),
    "online_dpo": Case(
        ours=by(OnlineDPO(), lambda data: rollout(data, 2)), theirs=f"{ONLINE_CALL}, `sigmoid`"
    ),
    "kto": Case(
        ours=by(KTO(desirable=1.2, undesirable=0.9), thumbs), theirs="`KTOTrainer._compute_loss`"
    ),
    "cpo, without imitation": Case(ours=by(CPO(nll_coef=0.0), pairs), theirs=f"{CPO_CALL}, `cpo_alpha=0`"),
    "cpo": Case(
        ours=by(CPO(), pairs), theirs=f"{CPO_CALL}, `sigmoid`",
        as_theirs=reasons.imitation_by_tokens,
        differs="the paper's −log π(y) of a whole answer (eq. 5), a mean over pairs; TRL has the mean over all tokens"
        " of the better answers, which is smaller by their mean length",
    ),
    "simpo": Case(ours=by(SimPO(), pairs), theirs=f"{CPO_CALL}, `simpo`, `cpo_alpha=0`"),
    "slic, without imitation": Case(
        ours=by(SLiC(lam=0.0), pairs), theirs=f"{CPO_CALL}, `hinge`, β = 1, `cpo_alpha=0`"
    ),
    "orpo, odds alone": Case(ours=by(ORPO(), pairs, "preference"), theirs="`ORPOTrainer.odds_ratio_loss`"),
    "orpo": Case(
        ours=by(ORPO(), pairs), theirs="`ORPOTrainer.get_batch_loss_metrics`",
        as_theirs=reasons.imitation_of_prompts,
        differs="TRL's likelihood term is of prompt and answer, and a mean over all tokens of the batch; ours is of the"
        " answer alone, a mean over its tokens and then over pairs (eq. 2 and 6)",
    ),
    "context_distillation": Case(
        ours=by(ContextDistillation(), behind_a_word), theirs="`GKDTrainer.generalized_jsd_loss`, β = 0"
    ),
    "rloo": Case(
        ours=by(RLOO(kl_coef=0.05), lambda data: rollout(data, on_policy=True)), theirs=RLOO_CALL, value=False,
    ),
    "rloo, off policy": Case(
        ours=by(RLOO(kl_coef=0.05), rollout), theirs="the same, several updates a rollout", value=False,
        as_theirs=reasons.clipped_answers,
        differs="TRL clips a ratio of whole answers, as PPO does; ours has one update a rollout, where the ratio is 1",
    ),
    "grpo": Case(ours=by(GRPO(), rollout), theirs=f"{GRPO_CALL}, `grpo`, `use_bias_correction_kl=False`"),
    "grpo, corrected KL": Case(
        ours=by(GRPO(), rollout), theirs="the same, as TRL has it by default (`use_bias_correction_kl`)",
        as_theirs=reasons.corrected_kl,
        differs="TRL multiplies k3 by the ratio, so that its gradient is that of KL(π‖π0); ours is the paper's eq. 4,"
        " and its page says what that gradient is",
    ),
    "dr_grpo": Case(
        ours=by(DrGRPO(kl_coef=0.04, constant_length=LONGEST), rollout),
        theirs="the same, `dr_grpo`, `scale_rewards=none`",
    ),
    "gspo": Case(
        ours=by(GSPO(kl_coef=0.04, clip_low=0.03, clip_high=0.04, minibatches=1), rollout),
        theirs="the same, `grpo`, `importance_sampling_level=sequence`",
    ),
    "dapo": Case(ours=by(DAPO(minibatches=1), rollout), theirs="the same, `dapo`"),
    "dapo as bnpo": Case(
        ours=by(DAPO(minibatches=1, clip_low=CLIP, clip_high=CLIP), rollout), theirs="the same, `bnpo`"
    ),
    "dapo, a group all alike": Case(
        ours=by(DAPO(minibatches=1), lambda data: rollout(data, flat=True)), theirs="the same, `dapo`",
        as_theirs=reasons.all_tokens_counted,
        differs="ours leaves out groups without spread (eq. 11); TRL counts their tokens in the mean",
    ),
    "nash_md, without KL": Case(
        ours=by(NashMD(tau=1e-12), matches), theirs="`NashMDTrainer._compute_logprobs`, `._compute_losses`, 1.12"
    ),
    "nash_md": Case(
        ours=by(NashMD(tau=0.1), matches), theirs="the same, β = 0.1", value=False,
        as_theirs=reasons.kl_by_tokens,
        differs="TRL multiplies each token's log-ratio with that token's log-probability alone, so that no token is"
        " told what it makes later ones cost: its mean is not the gradient of KL(π‖π0); ours is",
    ),
    "the mixture of nash_md": Case(
        ours=mixture,
        theirs="`GeometricMixtureWrapper.forward`, 1.12: log-probabilities of all tokens, in place of a gradient",
    ),
    "the advantages of ppo": Case(
        ours=lambda data: our_side.advantages(to_the_end(data)),
        theirs=f"{PPO_CALL}, answers of one length: what it whitens, in place of a gradient",
    ),
    "ppo, the policy's loss": Case(
        ours=our_side.of_policy, theirs="the same, second update, with advantages that are given, `vf_coef=0`"
    ),
    "ppo, the critic's loss": Case(
        ours=lambda data: our_side.of_critic(to_the_end(data)),
        theirs="the same, second update, answers of one length, advantages of 0",
    ),
    "ppo, answers of one length": Case(
        ours=lambda data: our_side.ppo(to_the_end(data)), theirs="the same, second update",
        as_theirs=lambda data: reasons.whitened_unbiased(to_the_end(data)),
        differs="TRL whitens by the variance of n − 1; ours is that of the released code of Ziegler et al. 2019",
    ),
    "ppo, whitened rewards": Case(
        ours=lambda data: our_side.ppo(to_the_end(data), whiten_rewards=True), theirs="the same, `whiten_rewards`",
        as_theirs=lambda data: reasons.whitened_unbiased(to_the_end(data), whiten_rewards=True),
        differs="TRL whitens rewards, too, by the variance of n − 1",
    ),
    "ppo": Case(
        ours=our_side.ppo, theirs=f"{PPO_CALL}, second update", as_theirs=reasons.rewarded_later,
        differs="as above; and where an answer ended early, TRL has its reward one place behind the last token, and"
        " learns the value there",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Gap:
    """By how much losses differ, and gradients at most; no loss where its value says nothing."""

    loss: float | None
    slope: float

    @property
    def closed(self) -> bool:
        return self.slope <= AGREE and (self.loss or 0.0) <= AGREE


@dataclass(frozen=True)
class Row:
    name: str
    case: Case
    loss: float
    gap: Gap
    explained: Gap | None  # what is left of it where ours has what the reason says

    @property
    def as_said(self) -> bool:
        return self.explained.closed and not self.gap.closed if self.explained else self.gap.closed

    def __str__(self) -> str:
        value, apart = ("—", "—") if self.gap.loss is None else (f"{self.loss:.6f}", f"{self.gap.loss:.1e}")
        verdict = "agrees"
        if self.explained:
            verdict = f"differs: {self.case.differs} (with that in ours: {self.explained.slope:.1e})"
        return f"| {self.name} | {self.case.theirs} | {value} | {apart} | {self.gap.slope:.1e} | {verdict} |"


def all_of_ours(data: Frozen) -> Found:
    return {name: case.ours(data) for name, case in CASES.items()}


def all_as_theirs(data: Frozen) -> Found:
    """Of those that differ."""
    return {name: case.as_theirs(data) for name, case in CASES.items() if case.as_theirs}


def compared(found: Found, as_theirs: Found, theirs: Found) -> list[Row]:
    """KeyError where a side lacks a case."""

    def gap(name: str, case: Case, side: Found) -> Gap:
        (loss, gradient), (their_loss, their_gradient) = side[name], theirs[name]
        apart = abs(loss - their_loss) if case.value else None
        return Gap(apart, float((gradient - their_gradient).abs().max()))

    return [
        Row(name, case, found[name][0], gap(name, case, found), gap(name, case, as_theirs) if case.differs else None)
        for name, case in CASES.items()
    ]


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
        data, theirs = load(frozen_at), ask(options.peers, frozen_at, Path(name))
    rows = compared(all_of_ours(data), all_as_theirs(data), theirs)
    print(table(rows))
    if options.write:
        put(table(rows), options.write)
    wrong = [row.name for row in rows if not row.as_said]
    if wrong:
        print(f"not as written down: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
