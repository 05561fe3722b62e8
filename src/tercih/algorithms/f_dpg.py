"""f-DPG: distributional policy gradients, towards a target whose shape is known and whose sum is not (Go et al. 2023,
arXiv:2302.08215; with the forward KL this is DPG of Parshakova et al. 2019, arXiv:1912.08517, and GDC of Khalifa et al.
2021, arXiv:2012.11635; with the reverse KL it is reinforcement learning under a KL penalty)."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import log

import numpy as np
import torch
from torch import Tensor, nn

from tercih.batches import Batch, Compared, Rollout
from tercih.card import Card
from tercih.divergences import slope_of
from tercih.families import penalised, score_function
from tercih.forward import Loss, Models
from tercih.method import Method, State, check
from tercih.ops import mean_of_others
from tercih.tokens import Tokens

CARD = Card(
    does="moves the policy to a target distribution, by the divergence you choose",
    paper="Go et al. 2023; Khalifa et al. 2021",
    link="arXiv:2302.08215",
    family="policy gradients",
    when="You can say what distribution you want: the base model with half of its answers about women, or tilted by a"
    " reward. Divergences differ in what a policy gives up that cannot be everything; where none must be chosen, RLOO"
    " is simpler.",
)

Sums = dict[str, list[float]]
"""Of every prompt: log Σ P/q over all that was sampled for it so far, and how many samples these are."""


def pseudo_reward(log_t_B: Tensor, divergence: str) -> Tensor:
    """−f'(t) at t = π/p, shape (B,): what a response is worth to E_π[−f'(π/p) ∇log π] = −∇ D_f(π‖p) (Go et al. 2023,
    theorem 1), where π itself has sampled it."""
    return -slope_of(divergence)(log_t_B)


def log_z(log_weight_B: Tensor, tokens: Tokens, sums: Sums) -> Tensor:
    """The log of the importance average Z(x) = mean of P(x, y)/q(y|x), over all responses to the prompt since training
    began, shape (B,); these are added to `sums`."""
    log_weight, prompt_of = log_weight_B.double().cpu().numpy(), tokens.prompt_of_B.tolist()
    names = _names(tokens)
    for weight, prompt in zip(log_weight.tolist(), prompt_of, strict=True):
        total, count = sums.get(names[prompt], [-np.inf, 0])
        sums[names[prompt]] = [float(np.logaddexp(total, weight)), count + 1]
    found = [sums[names[prompt]][0] - log(sums[names[prompt]][1]) for prompt in prompt_of]
    return torch.tensor(found, dtype=log_weight_B.dtype).to(log_weight_B.device)


def _names(tokens: Tokens) -> list[str]:
    """Of every prompt, a name that is the same whenever it is asked again."""
    rows = zip(tokens.prompt_ids_PS.tolist(), tokens.prompt_len_P.tolist(), strict=True)
    return [hashlib.sha256(repr(ids[:length]).encode()).hexdigest()[:16] for ids, length in rows]


@dataclass(frozen=True, kw_only=True, slots=True)
class FDPG(Method):
    """The target is p(y|x) = P(x, y)/Z(x) with P = π0 exp(r/β). With `--constraints` r is λ·φ, whose λ were found
    before training, and β is 1.

    `divergence` is that of π from p: "forward_kl" KL(p‖π), "reverse_kl" KL(π‖p), "js", "tv", "neyman_chi2" Σ (π − p)²/π
    (disco's χ²), and the others of the table. One update a rollout, so that q = π. The baseline is the mean of the
    other responses to the prompt; disco has a window of 1024 samples. The default divergence is disco's.
    """

    learns_from = "rollouts"
    needs_reference = True
    needs_groups = True

    divergence: str = "js"
    beta: float = 1.0

    def __post_init__(self) -> None:
        check(self, "f_dpg", above_0=("beta",))
        slope_of(self.divergence, "f_dpg.divergence")

    def init(self, models: Models) -> State:
        return {"z": {}}

    @torch.no_grad()
    def batches(self, data: Rollout, models: Models, state: State) -> Iterator[Batch]:
        """Z is kept up where it lies, in the state: here alone are P and q of every response known."""
        batch = penalised(replace(data, reward_B=data.reward_B / self.beta), models, kl_coef=1.0)
        log_weight_B = batch.advantage_B  # r/β − log(π/π0) = log P/q
        log_t_B = log_z(log_weight_B, data.tokens, state["z"]) - log_weight_B
        worth_B = pseudo_reward(log_t_B, self.divergence)
        yield replace(batch, advantage_B=worth_B - mean_of_others(worth_B, data.tokens.prompt_of_B))

    def loss(self, policy: nn.Module, batch: Compared) -> Loss:
        return score_function(policy, batch)

    def after(self, state: State, data: Rollout, metrics: Mapping[str, float]) -> State:
        known = [total - log(count) for total, count in state["z"].values()]
        return {"z": state["z"], "log_z": sum(known) / len(known)}  # a mean over prompts, for the record
