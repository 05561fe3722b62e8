"""TRL 1.16's losses on frozen tensors: its own methods, on trainers that were never constructed but hold what those
methods read. `parity.py` calls it as `python parity116.py FROZEN FOUND`."""

import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from harness.bare import config, found, sequences, without_constructor
from harness.frozen import PAD, SAMPLES, WORD, Found, Frozen, S, T, Table, load, write
from torch import Tensor
from trl import (
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    KTOConfig,
    KTOTrainer,
    RewardConfig,
    RewardTrainer,
    RLOOConfig,
    RLOOTrainer,
    SFTConfig,
    SFTTrainer,
)
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.gkd import GKDTrainer
from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer
from trl.trainer.utils import add_fused_lm_head

EVERYTHING = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")


def fused(logits_XV: Tensor) -> Any:
    """With the head that TRL's trainers give a model."""
    model = Table(logits_XV)
    add_fused_lm_head(model, outputs=EVERYTHING)
    return model


def bare(kind: Any, args: Any, **more: Any) -> Any:
    """A trainer without its constructor, and what all of them read."""
    counts: dict[str, Any] = {
        "aux_loss_enabled": False, "_metrics": {"train": defaultdict(list), "eval": defaultdict(list)},
        "_total_train_tokens": 0, "_tp_size": 1, "is_encoder_decoder": False,
        "state": SimpleNamespace(global_step=0, epoch=0),
    }  # fmt: skip
    return without_constructor(kind, args, **counts | more)


BETTER, WORSE = torch.arange(0, 8, 2), torch.arange(1, 8, 2)


def sft(data: Frozen) -> tuple[float, Tensor]:
    model, rows = fused(data.policy_XV), sequences(data)
    labels = rows["input_ids"].masked_fill(rows.pop("completion_mask") == 0, -100)
    trainer = bare(SFTTrainer, config(SFTConfig), model=model, compute_loss_func=None, label_smoother=None)
    return found(model, SFTTrainer.compute_loss(trainer, model, {**rows, "labels": labels}))


def reward(data: Frozen, *, margin: bool, centre: float | None) -> tuple[float, Tensor]:
    score_B = data.score_B[torch.cat([BETTER, WORSE])].clone().requires_grad_()

    class Scorer(torch.nn.Module):
        def forward(self, **_: Any) -> SimpleNamespace:
            return SimpleNamespace(logits=score_B[:, None])

    model = Scorer()
    trainer = bare(RewardTrainer, config(RewardConfig, center_rewards_coefficient=centre), model=model)
    rows = sequences(data, torch.cat([BETTER, WORSE]))
    loss = RewardTrainer.compute_loss(trainer, model, {**rows, "margin": data.margin_N} if margin else rows)
    (gradient,) = torch.autograd.grad(loss, score_B)
    return float(loss), torch.stack(gradient.chunk(2), 1).flatten()  # in the order of rows


def dpo(data: Frozen, loss_type: str, beta: float, smoothing: float = 0.0, **divergence: Any) -> tuple[float, Tensor]:
    model, reference = fused(data.policy_XV), fused(data.reference_XV)
    args = config(DPOConfig, loss_type=[loss_type], beta=beta, label_smoothing=smoothing, **divergence)
    trainer = bare(
        DPOTrainer, args, model=model, ref_model=reference, ld_alpha=None, precompute_ref_logps=False,
        f_divergence_type=args.f_divergence_type, f_alpha_divergence_coef=args.f_alpha_divergence_coef,
        loss_types=[loss_type], loss_weights=[1.0], beta=beta, label_smoothing=smoothing, use_weighting=False,
    )  # fmt: skip
    return found(model, DPOTrainer._compute_loss(trainer, model, sequences(data, torch.cat([BETTER, WORSE])), False))


def kto(data: Frozen) -> tuple[float, Tensor]:
    model, reference = fused(data.policy_XV), fused(data.reference_XV)
    rows, elsewhere = sequences(data), sequences(data)
    for name in elsewhere:  # every prompt with the response to the row before it
        elsewhere[name] = torch.cat([elsewhere[name][:, :S], elsewhere[name][:, S:].roll(1, 0)], 1)
    args = config(KTOConfig, beta=0.1, desirable_weight=1.2, undesirable_weight=0.9)
    trainer = bare(
        KTOTrainer, args, model=model, ref_model=reference, calculate_KL=True, precompute_ref_logps=False,
        beta=0.1, desirable_weight=1.2, undesirable_weight=0.9, loss_type="kto",
    )  # fmt: skip
    batch = {**rows, **{f"KL_{name}": x for name, x in elsewhere.items()}, "label": data.good_B}
    return found(model, KTOTrainer._compute_loss(trainer, model, batch, False))


def contrast(data: Frozen) -> dict[str, Tensor]:
    """The batch of CPO's and ORPO's trainers."""
    batch = {}
    for side, rows in (("chosen", BETTER), ("rejected", WORSE)):
        made = sequences(data, rows)
        batch[f"{side}_input_ids"], batch[f"{side}_attention_mask"] = made["input_ids"], made["attention_mask"]
        batch[f"{side}_labels"] = made["input_ids"].masked_fill(made["completion_mask"] == 0, -100)
    return batch


def cpo_trainer(loss_type: str, beta: float, gamma: float, alpha: float, smoothing: float = 0.0) -> Any:
    args = config(CPOConfig, loss_type=loss_type, beta=beta, simpo_gamma=gamma, cpo_alpha=alpha)
    return bare(
        CPOTrainer, args, pad_token_id=PAD, cpo_alpha=alpha, loss_type=loss_type, alpha=0.0, beta=beta,
        simpo_gamma=gamma, label_smoothing=smoothing,
    )  # fmt: skip


def cpo(data: Frozen, loss_type: str, beta: float, gamma: float = 0.0, alpha: float = 0.0) -> tuple[float, Tensor]:
    model, trainer = Table(data.policy_XV), cpo_trainer(loss_type, beta, gamma, alpha)
    return found(model, CPOTrainer.get_batch_loss_metrics(trainer, model, contrast(data))[0])


def conservative(data: Frozen) -> tuple[float, Tensor]:
    """TRL's DPO takes no smoothed labels any more, but CPO's loss does: here of log-ratios."""
    model, reference = Table(data.policy_XV), Table(data.reference_XV)
    trainer, batch = cpo_trainer("sigmoid", 0.1, 0.0, 0.0, 0.1), contrast(data)
    ours, theirs = (CPOTrainer.concatenated_forward(trainer, m, batch) for m in (model, reference))
    losses, _, _ = CPOTrainer.cpo_loss(trainer, ours[0] - theirs[0].detach(), ours[1] - theirs[1].detach())
    return found(model, losses.mean())


def orpo_trainer() -> Any:
    return bare(ORPOTrainer, config(ORPOConfig, beta=0.1), padding_value=PAD, beta=0.1)


def orpo(data: Frozen) -> tuple[float, Tensor]:
    model = Table(data.policy_XV)
    return found(model, ORPOTrainer.get_batch_loss_metrics(orpo_trainer(), model, contrast(data))[0])


def odds(data: Frozen) -> tuple[float, Tensor]:
    model, trainer = Table(data.policy_XV), orpo_trainer()
    chosen, rejected, *_ = ORPOTrainer.concatenated_forward(trainer, model, contrast(data))
    return found(model, -ORPOTrainer.odds_ratio_loss(trainer, chosen, rejected)[0].mean())


def online_dpo(data: Frozen, loss_type: str) -> tuple[float, Tensor]:
    """A whole training step, but for sampling and rewards."""
    model, order = Table(data.policy_XV), torch.cat([BETTER, WORSE])
    rows = data.prompt_ids_BS[order], torch.ones(8, S, dtype=torch.long)
    answers = data.response_ids_BT[order], data.mask_BT[order].long()
    args = config(OnlineDPOConfig, loss_type=loss_type, beta=[0.1], missing_eos_penalty=None, reward_weights=None)
    trainer = bare(
        OnlineDPOTrainer, args, model=model, ref_model=Table(data.reference_XV), max_length=S + T, eos_token_ids=[PAD],
        _beta=0.1, reward_funcs=[None], stats=defaultdict(list),
        processing_class=SimpleNamespace(batch_decode=lambda ids, **_: [""] * len(ids)),
        _generate=lambda *_: (*rows, *answers, None),
        _calculate_rewards_from_functions=lambda **_: data.reward_B[order].clone(),
    )  # fmt: skip
    loss = OnlineDPOTrainer.training_step(trainer, model, {"prompt": [""] * 4})
    return float(loss), model.head.weight.grad


def online_dpo_of_labels(data: Frozen) -> tuple[float, Tensor]:
    """IPO of whole responses is in TRL's online trainer alone; rewards are set so that the better ones win."""
    better_B = (torch.arange(8) % 2 == 0).float()
    return online_dpo(Frozen(**{**data.__dict__, "reward_B": better_B}), "ipo")


def distilled(data: Frozen) -> tuple[float, Tensor]:
    """The teacher reads a word before the prompt, in the place of its first token."""
    model, teacher, ids = Table(data.policy_XV), Table(data.reference_XV), sequences(data)["input_ids"]
    told = torch.cat([torch.full_like(ids[:, :1], WORD), ids[:, 1:]], 1)
    labels = data.response_ids_BT.masked_fill(~data.mask_BT, -100)
    logits, told_logits = model(ids[:, 1:]).logits[:, S - 2 : -1], teacher(told).logits[:, S - 1 : -1].detach()
    return found(model, GKDTrainer.generalized_jsd_loss(logits, told_logits, labels, beta=0))


def grouped(kind: Any, args: Any, data: Frozen, reward_B: Tensor, old: Any, **held: Any) -> tuple[Any, dict[str, Any]]:
    """A trainer and the batch that it makes itself of frozen completions and rewards: the advantages are its own."""
    ids = [row[:n].tolist() for row, n in zip(data.response_ids_BT, data.length_B.tolist(), strict=True)]
    prompts = data.prompt_ids_BS.tolist()
    texts = [""] * len(ids)
    sampled = (prompts, ids, texts) if kind is RLOOTrainer else (prompts, ids, None, texts, None, {}, None, None)
    trainer = bare(
        kind, args, model=old, ref_model=fused(data.reference_XV), environment_factories=None, tools=[],
        environments=None, _tokenizer=SimpleNamespace(pad_token_id=PAD), pad_to_multiple_of=None,
        mask_truncated_completions=False, use_vllm=False, vllm_importance_sampling_correction=False, _is_vlm=False,
        num_generations=SAMPLES, num_iterations=1, beta=args.beta, eos_token_ids=[PAD], temperature=1.0,
        multi_objective_aggregation="sum_then_normalize", reward_weights=torch.ones(1), reward_funcs=[None],
        reward_func_names=["frozen"], scale_rewards=getattr(args, "scale_rewards", None), log_multimodal=False,
        _logs=defaultdict(Logs), _pending_extra_logs={}, _pending_metrics={}, max_completion_length=T,
        epsilon_low=args.epsilon, epsilon_high=args.epsilon_high or args.epsilon, reward_clip_range=None,
        normalize_advantages=False, current_gradient_accumulation_steps=1, top_entropy_quantile=1.0,
        off_policy_mask_threshold=None, _entropy_bonus_enabled=False,
        _generate=lambda _: sampled, _calculate_rewards=lambda *_: reward_B[:, None], **held,
    )  # fmt: skip
    return trainer, trainer._generate_and_score_completions([{"prompt": ""} for _ in ids])


class Logs(list):  # type: ignore[type-arg]
    """A list, or lists by name."""

    def __getitem__(self, name: Any) -> Any:
        return self if isinstance(name, str) else super().__getitem__(name)


def grpo(
    data: Frozen, loss_type: str, *, beta: float, clip: float, clip_high: float | None = None, level: str = "token",
    scale: str = "group", flat: bool = False, corrected: bool = False,
) -> tuple[float, Tensor]:  # fmt: skip
    reward_B = torch.where(torch.arange(8) < SAMPLES, 0.0, data.reward_B) if flat else data.reward_B
    args = config(
        GRPOConfig, loss_type=loss_type, beta=beta, epsilon=clip, epsilon_high=clip_high, scale_rewards=scale,
        use_bias_correction_kl=corrected,
        importance_sampling_level=level, num_generations=SAMPLES, max_completion_length=T,
        per_device_train_batch_size=8, gradient_accumulation_steps=1, steps_per_generation=1,
    )  # fmt: skip
    model, old = fused(data.policy_XV), fused(data.old_XV)
    trainer, batch = grouped(
        GRPOTrainer, args, data, reward_B, old, loss_type=loss_type, importance_sampling_level=level
    )
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    seen = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    with torch.no_grad():
        batch["old_per_token_logps"], _, _ = trainer._get_per_token_logps_and_entropies(old, ids, seen, T)
    return found(model, GRPOTrainer._compute_loss(trainer, model, batch))


def rloo(data: Frozen, *, on_policy: bool) -> tuple[float, Tensor]:
    args = config(
        RLOOConfig, beta=0.05, num_generations=SAMPLES, max_completion_length=T, per_device_train_batch_size=8,
        gradient_accumulation_steps=1, steps_per_generation=1,
    )  # fmt: skip
    model = fused(data.policy_XV)
    trainer, batch = grouped(RLOOTrainer, args, data, data.reward_B, model if on_policy else fused(data.old_XV))
    return found(model, RLOOTrainer._compute_loss(trainer, model, batch))


CASES: dict[str, Callable[[Frozen], tuple[float, Tensor]]] = {
    "sft": sft,
    "bradley_terry": lambda data: reward(data, margin=False, centre=None),
    "bradley_terry, margin and centre": lambda data: reward(data, margin=True, centre=0.01),
    "dpo": lambda data: dpo(data, "sigmoid", 0.1),
    "dpo, forward KL": lambda data: dpo(data, "sigmoid", 0.1, f_divergence_type="forward_kl"),
    "dpo, Jensen–Shannon": lambda data: dpo(data, "sigmoid", 0.1, f_divergence_type="js_divergence"),
    "dpo, Hellinger": lambda data: dpo(
        data, "sigmoid", 0.1, f_divergence_type="alpha_divergence", f_alpha_divergence_coef=0.5
    ),
    "dpo, Neyman χ²": lambda data: dpo(
        data, "sigmoid", 0.2, f_divergence_type="alpha_divergence", f_alpha_divergence_coef=-1.0
    ),
    "conservative_dpo": conservative,
    "robust_dpo": lambda data: dpo(data, "robust", 0.1, 0.1),
    "ipo, per token": lambda data: dpo(data, "ipo", 0.1),
    "ipo": online_dpo_of_labels,
    "online_dpo": lambda data: online_dpo(data, "sigmoid"),
    "kto": kto,
    "cpo, without imitation": lambda data: cpo(data, "sigmoid", 0.1),
    "cpo": lambda data: cpo(data, "sigmoid", 0.1, alpha=1.0),
    "simpo": lambda data: cpo(data, "simpo", 2.0, 1.6),
    "slic, without imitation": lambda data: cpo(data, "hinge", 1.0),
    "orpo, odds alone": odds,
    "orpo": orpo,
    "context_distillation": distilled,
    "rloo": lambda data: rloo(data, on_policy=True),
    "rloo, off policy": lambda data: rloo(data, on_policy=False),
    "grpo": lambda data: grpo(data, "grpo", beta=0.04, clip=0.2),
    "grpo, corrected KL": lambda data: grpo(data, "grpo", beta=0.04, clip=0.2, corrected=True),
    "dr_grpo": lambda data: grpo(data, "dr_grpo", beta=0.04, clip=0.2, scale="none"),
    "gspo": lambda data: grpo(data, "grpo", beta=0.04, clip=0.03, clip_high=0.04, level="sequence"),
    "dapo": lambda data: grpo(data, "dapo", beta=0.0, clip=0.2, clip_high=0.28),
    "dapo as bnpo": lambda data: grpo(data, "bnpo", beta=0.0, clip=0.2),
    "dapo, a group all alike": lambda data: grpo(data, "dapo", beta=0.0, clip=0.2, clip_high=0.28, flat=True),
}


if __name__ == "__main__":
    data, answers = load(Path(sys.argv[1])), Found()
    for name, case in CASES.items():
        answers[name] = case(data)
    write(answers, Path(sys.argv[2]))
