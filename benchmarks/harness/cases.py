"""What `parity.py` compares: a row of its table each, in its order."""

from dataclasses import dataclass

from harness import our_side, reasons
from harness.frozen import to_the_end
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
