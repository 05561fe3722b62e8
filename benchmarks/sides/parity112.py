"""The same of TRL 1.12, for what TRL 1.16 does not have any more."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from harness.bare import config, found, sequences, without_constructor
from harness.frozen import PAD, Found, Frozen, S, States, T, Table, load, to_the_end, write
from torch import Tensor, nn
from transformers.loss.loss_utils import ForTokenClassification
from trl.experimental.nash_md import NashMDConfig, NashMDTrainer
from trl.experimental.nash_md.nash_md_trainer import GeometricMixtureWrapper
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer
from trl.experimental.prm import PRMConfig, PRMTrainer


def nash_md(data: Frozen, beta: float) -> tuple[float, Tensor]:
    model = Table(data.policy_XV)
    trainer = without_constructor(NashMDTrainer, config(NashMDConfig), _beta=beta, ref_model=Table(data.reference_XV))
    logp_BT, reference_logp_BT = trainer._compute_logprobs(model, sequences(data), S)
    chance_B = torch.sigmoid(data.reward_B - data.rival_reward_B)
    return found(model, trainer._compute_losses(logp_BT, reference_logp_BT, chance_B)[0])


def mixture(data: Frozen) -> tuple[float, Tensor]:
    """Log-probabilities of the answers in place of a gradient."""
    wrapper = GeometricMixtureWrapper(Table(data.policy_XV), Table(data.reference_XV), None, mixture_coef=0.25)
    logp_BTV = wrapper(sequences(data)["input_ids"]).logits[:, S - 1 : -1]
    logp_BT = logp_BTV.gather(2, data.response_ids_BT[..., None]).squeeze(2) * data.mask_BT
    return float(logp_BT.sum()), logp_BT


class Letters:
    """A tokenizer for texts that are lists of tokens. Steps end without a separator."""

    bos_token_id = None

    def __call__(self, text: list[int], **_: Any) -> dict[str, list[int]]:
        return {"input_ids": text}

    def encode(self, text: str, **_: Any) -> list[int]:
        return []


def process_reward(data: Frozen) -> tuple[float, Tensor]:
    """Every answer is a step; its score is the log-odds of the second class at the token where TRL puts the label."""
    score_B = data.score_B.clone().requires_grad_()
    ids = [row[:n].tolist() for row, n in zip(data.response_ids_BT, data.length_B.tolist(), strict=True)]
    rows = [
        PRMTrainer.tokenize_row(
            {"prompt": prompt, "completions": [answer], "labels": [good]}, Letters(), "", None, None, False, False
        )["labels"]
        for prompt, answer, good in zip(data.prompt_ids_BS.tolist(), ids, data.good_B.tolist(), strict=True)
    ]  # fmt: skip
    labels = torch.tensor([row + [-100] * (S + T - len(row)) for row in rows])

    class Classes(nn.Module):
        def forward(self, labels: Tensor) -> dict[str, Tensor]:
            logits = torch.stack([torch.zeros_like(labels), (labels != -100) * score_B[:, None]], 2)
            return {"loss": ForTokenClassification(logits, labels, SimpleNamespace(num_labels=2))}

    trainer = without_constructor(
        PRMTrainer, config(PRMConfig), model=Classes(), compute_loss_func=None, label_smoother=None,
        model_accepts_loss_kwargs=False,
    )  # fmt: skip
    loss = trainer.compute_loss(trainer.model, {"labels": labels})
    (gradient,) = torch.autograd.grad(loss, score_B)
    return float(loss.detach()), gradient


class Sampled(Table):
    """A policy that always says the same."""

    def __init__(self, data: Frozen) -> None:
        super().__init__(data.old_XV)
        self.data = data

    def generate(self, **_: Any) -> SimpleNamespace:
        ids_BL = sequences(self.data)["input_ids"]
        return SimpleNamespace(sequences=ids_BL, scores=self(ids_BL).logits[:, S - 1 : -1].unbind(1))


class Critic(nn.Module):
    """A value of every state, in the form of a reward model."""

    base_model_prefix = "trunk"

    def __init__(self, value_X: Tensor) -> None:
        super().__init__()
        self.trunk, self.score = States(), nn.Linear(len(value_X), 1, bias=False)
        with torch.no_grad():
            self.score.weight.copy_(value_X[None])


class Scored(nn.Module):
    """Every row's reward at all of its tokens."""

    base_model_prefix = "trunk"

    def __init__(self, reward_B: Tensor) -> None:
        super().__init__()
        self.trunk = States()
        self.score = lambda hidden_BLX: reward_B[:, None, None].expand(*hidden_BLX.shape[:2], 1)


class Moves:
    """In place of an optimiser: the first update leads from the policy that sampled, and its critic, to the others, at
    which the loss of the second has ratios and values to clip."""

    def __init__(self, policy: Table, critic: Critic, data: Frozen) -> None:
        self.weights, self.to = (policy.head.weight, critic.score.weight), (data.policy_XV.T, data.value_X[None])
        self.losses: list[tuple[float, Tensor]] = []

    def backward(self, loss: Tensor) -> None:
        self.losses.append((float(loss.detach()), torch.cat(torch.autograd.grad(loss, self.weights))))

    @torch.no_grad()
    def step(self) -> None:
        for weight, aim in zip(self.weights, self.to, strict=True):
            weight.copy_(aim)

    def zero_grad(self) -> None:
        pass


def ppo(data: Frozen, **options: Any) -> tuple[float, Tensor]:
    """The whole of `train()`, for one rollout and two updates: what the second hands to the backward pass."""
    args = config(
        PPOConfig, kl_coef=0.15, num_ppo_epochs=2, num_mini_batches=1, temperature=1.0, response_length=T,
        per_device_train_batch_size=8, gradient_accumulation_steps=1, num_sample_generations=0, total_episodes=8,
        **options,
    )  # fmt: skip
    # what the constructor counts
    args.num_total_batches, args.batch_size, args.local_batch_size, args.local_mini_batch_size = 1, 8, 8, 8
    policy, critic = Sampled(data), Critic(data.old_value_X)
    moves = Moves(policy, critic, data)
    going = SimpleNamespace(should_save=False)
    trainer = without_constructor(
        PPOTrainer, args, model=ppo_trainer.PolicyAndValueWrapper(policy, critic), ref_model=Table(data.reference_XV),
        reward_model=Scored(data.reward_B), processing_class=SimpleNamespace(pad_token_id=PAD, eos_token_id=PAD),
        dataloader=[{"input_ids": data.prompt_ids_BS}], train_dataset_len=8, stop_token_id=None, optimizer=moves,
        lr_scheduler=SimpleNamespace(get_last_lr=lambda: [0.0], step=lambda: None), is_deepspeed_enabled=False,
        callback_handler=SimpleNamespace(**dict.fromkeys(EVENTS, lambda *_: going)), control=going,
        state=SimpleNamespace(), log=lambda _: None,
    )  # fmt: skip
    trainer.accelerator.backward, trainer.accelerator.print = moves.backward, lambda *_: None
    np.random.seed(0)  # noqa: NPY002  which orders rows
    trainer.train()
    return moves.losses[1]


EVENTS = ("on_train_begin", "on_step_end", "on_train_end")


@contextmanager
def whitened_is(advantage_BT: Tensor | None = None) -> Iterator[list[Tensor]]:
    """What TRL whitens; it goes on with these, where there are any."""
    seen, whiten = [], ppo_trainer.masked_whiten

    def instead(values: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        seen.append(values)
        return whiten(values, *args, **kwargs) if advantage_BT is None else advantage_BT

    with patch.object(ppo_trainer, "masked_whiten", instead):
        yield seen


def advantages(data: Frozen) -> tuple[float, Tensor]:
    """Before they are whitened, in place of a gradient."""
    with whitened_is() as seen:
        ppo(data)
    return float(seen[0].mean()), seen[0]


def of_policy(data: Frozen) -> tuple[float, Tensor]:
    with whitened_is(data.advantage_BT):
        return ppo(data, vf_coef=0.0)


def of_critic(data: Frozen) -> tuple[float, Tensor]:
    """Advantages of 0 leave nothing of the policy's loss."""
    with whitened_is(torch.zeros_like(data.advantage_BT)):
        return ppo(data, vf_coef=1.0)


CASES: dict[str, Callable[[Frozen], tuple[float, Tensor]]] = {
    "nash_md, without KL": lambda data: nash_md(data, 0.0),
    "nash_md": lambda data: nash_md(data, 0.1),
    "the mixture of nash_md": mixture,
    "process_reward": process_reward,
    "the advantages of ppo": lambda data: advantages(to_the_end(data)),
    "ppo, the policy's loss": of_policy,
    "ppo, the critic's loss": lambda data: of_critic(to_the_end(data)),
    "ppo, answers of one length": lambda data: ppo(to_the_end(data)),
    "ppo, whitened rewards": lambda data: ppo(to_the_end(data), whiten_rewards=True),
    "ppo": ppo,
}


if __name__ == "__main__":
    data, answers = load(Path(sys.argv[1])), Found()
    for name, case in CASES.items():
        answers[name] = case(data)
    write(answers, Path(sys.argv[2]))
