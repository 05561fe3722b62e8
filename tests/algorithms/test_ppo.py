import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from small import byte_pairs, causal, random_tokens, rollout
from tercih.algorithms.ppo import PPO, Pretraining
from tercih.batches import Batch, Rollout, Valued
from tercih.data.tokenize import Tokenizer
from tercih.forward import Models
from tercih.metrics import read_metrics
from tercih.models.language_model import LanguageModel, Reference
from tercih.ops import clipped_value_loss, token_rewards
from tercih.optimisation import Optimisation
from tercih.records import Text
from tercih.rewards import Combiner, FunctionReward
from tercih.rollout.sampler import Rollouts
from tercih.rollout.sampling import Sampling
from tercih.train import fit
from test_ops import slow_gae


def setting(seed: int = 0) -> tuple[Models, Rollout]:
    """A policy that is not its reference, values that are not zero, and a rollout it would itself give."""
    policy = LanguageModel(causal(), value="shared")
    assert policy.value_head is not None
    torch.nn.init.normal_(policy.value_head.weight, generator=torch.Generator().manual_seed(seed))
    tokens = random_tokens([2, 1, 3, 2], holes=True)
    models = Models(policy=policy, reference=Reference(LanguageModel(causal(seed=1))))
    return models, rollout(tokens, policy(tokens).logp_BT.detach())


def prepared(method: PPO, **further: Any) -> tuple[Models, Rollout, Valued]:
    models, data = setting()
    data = replace(data, **further)
    with torch.no_grad():
        return models, data, method.prepare(data, models, 0.3)


def test_token_rewards_by_hand() -> None:
    mask_BT = torch.tensor([[True, True, True, False], [True, False, True, True], [True, False, False, False]])
    kl_BT = torch.tensor([[1.0, -2.0, 0.5, math.nan], [1.0, math.nan, 0.0, 4.0], [2.0, math.inf, math.nan, 0.0]])
    found = token_rewards(torch.tensor([10.0, 20.0, 30.0]), kl_BT, mask_BT, 0.1)
    expected = [[-0.1, 0.2, 9.95, 0.0], [-0.1, 0.0, 0.0, 19.6], [29.8, 0.0, 0.0, 0.0]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_clipped_value_loss_by_hand() -> None:
    value = torch.tensor([0.1, 1.0, -1.0, 1.0], requires_grad=True)
    loss = clipped_value_loss(value, torch.zeros(4), torch.tensor([1.0, 1.0, 1.0, -1.0]), 0.2)
    # max of the loss at V and at V kept within 0.2 of 0
    torch.testing.assert_close(loss.detach(), 0.5 * torch.tensor([0.81, 0.64, 4.0, 4.0]))
    loss.sum().backward()
    torch.testing.assert_close(value.grad, torch.tensor([-0.9, 0.0, -2.0, 2.0]))


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.4)])
def test_prepare_is_the_definition(gamma: float, lam: float) -> None:
    models, data, batch = prepared(PPO(gamma=gamma, lam=lam, whiten_advantages=False))
    reference_BT = models.reference_logp(data.tokens)
    mask = data.tokens.loss_mask_BT.tolist()
    advantage, returns = [], []
    for b, row in enumerate(mask):
        reward = [-0.3 * float(data.logp_BT[b, t] - reference_BT[b, t]) if real else 0.0 for t, real in enumerate(row)]
        reward[max(t for t, real in enumerate(row) if real)] += float(data.reward_B[b])
        value = batch.old_value_BT[b].tolist()
        advantage.append(slow_gae(reward, value, row, gamma, lam))
        returns.append([a + v if real else 0.0 for a, v, real in zip(advantage[-1], value, row, strict=True)])
    mask_BT = data.tokens.loss_mask_BT
    torch.testing.assert_close(batch.advantage_BT, torch.tensor(advantage, dtype=torch.float64))
    torch.testing.assert_close(torch.where(mask_BT, batch.return_BT, 0.0), torch.tensor(returns, dtype=torch.float64))
    assert (batch.old_value_BT[mask_BT] != 0).all()
    assert not batch.advantage_BT.requires_grad


def test_whitening_changes_advantages_but_not_returns() -> None:
    _, _, plain = prepared(PPO(whiten_advantages=False))
    _, _, white = prepared(PPO())
    mask_BT = plain.tokens.loss_mask_BT
    torch.testing.assert_close(white.return_BT, plain.return_BT)
    assert float(white.advantage_BT[mask_BT].mean()) == pytest.approx(0, abs=1e-12)
    assert float(white.advantage_BT[mask_BT].std(unbiased=False)) == pytest.approx(1, abs=1e-6)
    a, w = plain.advantage_BT[mask_BT], white.advantage_BT[mask_BT]
    torch.testing.assert_close(w, (a - a.mean()) / a.std(unbiased=False), rtol=1e-6, atol=1e-6)


def test_whitened_rewards_keep_their_mean_and_stay_within_the_mask() -> None:
    _, data, plain = prepared(PPO(lam=0.0, gamma=0.0, whiten_advantages=False))
    _, _, white = prepared(PPO(lam=0.0, gamma=0.0, whiten_advantages=False, whiten_rewards=True))
    mask_BT = data.tokens.loss_mask_BT
    raw, scaled = plain.return_BT[mask_BT], white.return_BT[mask_BT]  # with γ = λ = 0 the return is the reward
    torch.testing.assert_close(scaled.mean(), raw.mean())
    torch.testing.assert_close(scaled - scaled.mean(), (raw - raw.mean()) / (raw.var(unbiased=False) + 1e-8).sqrt())
    assert (white.advantage_BT[~mask_BT] == 0).all()


def test_the_first_step_has_ratio_one() -> None:
    method = PPO(whiten_advantages=False, entropy_coef=0.5)
    models, data, batch = prepared(method)
    loss = method.loss(models.policy, batch)
    mask_BT = data.tokens.loss_mask_BT
    torch.testing.assert_close(loss.terms["policy"].sum.detach(), -batch.advantage_BT[mask_BT].sum())
    value_loss = 0.5 * (batch.old_value_BT - batch.return_BT)[mask_BT] ** 2  # V has not moved: nothing is clipped
    torch.testing.assert_close(loss.terms["value"].sum.detach(), value_loss.sum())
    assert float(loss.metrics["clip_fraction"][0]) == 0
    assert {name: term.weight for name, term in loss.terms.items()} == {"policy": 1, "value": 0.1, "entropy": -0.5}
    (gradient,) = torch.autograd.grad(loss.terms["policy"].sum, models.policy.causal.lm_head.weight)
    surrogate = -(models.policy(data.tokens).logp_BT * batch.advantage_BT).sum()  # REINFORCE at ratio 1
    (expected,) = torch.autograd.grad(surrogate, models.policy.causal.lm_head.weight)
    torch.testing.assert_close(gradient, expected)


def test_metrics_say_what_they_are_called() -> None:
    models, data, batch = prepared(PPO())
    metrics = {k: float(s / c) for k, (s, c) in PPO().loss(models.policy, batch).metrics.items()}
    mask_BT = data.tokens.loss_mask_BT
    kl_BT = torch.where(mask_BT, data.logp_BT - models.reference_logp(data.tokens), 0.0)
    assert metrics["kl"] == pytest.approx(float(kl_BT.sum(1).mean()))
    assert metrics["value_loss"] == pytest.approx(
        0.5 * float((batch.old_value_BT - batch.return_BT)[mask_BT].square().mean())
    )


def test_epochs_and_minibatches_make_that_many_steps_each_shuffled_anew() -> None:
    models, data = setting()
    method = PPO(epochs=3, minibatches=2)
    steps = list(method.batches(data, models, {"kl_coef": 0.1, "updates": 5}))
    assert len(steps) == 6
    assert all(isinstance(batch, Valued) for batch in steps)
    orders = {tuple(batch.tokens.response_len_B.tolist()) for batch in steps[::2]}  # type: ignore[union-attr]
    assert len(orders) > 1
    with pytest.raises(ValueError, match=r"minibatches is 5, but a rollout has only 4 prompts"):
        list(PPO(minibatches=5).batches(data, models, {"kl_coef": 0.1, "updates": 0}))


def test_pretraining_text_joins_every_step() -> None:
    models, data = setting()
    text = Batch(tokens=random_tokens([1, 1, 1], seed=4))
    method = PPO(epochs=2, pretraining_coef=2.0)
    state = {"kl_coef": 0.1, "updates": 0}
    steps = list(method.batches(replace(data, pretraining=text), models, state))
    assert [[type(part) for part in step] for step in steps] == [[Valued, Pretraining]] * 2  # type: ignore[union-attr]
    loss = method.loss(models.policy, steps[0][1])  # type: ignore[index]
    term = loss.terms["pretraining"]
    assert (term.weight, term.per) == (2.0, "pretraining_tokens")
    logp_BT = models.policy(text.tokens).logp_BT
    torch.testing.assert_close(term.sum, -logp_BT[text.tokens.loss_mask_BT].sum())
    with pytest.raises(ValueError, match=r"needs rollouts with pre-training text: give the sampler `pretraining`"):
        next(method.batches(data, models, state))


def test_the_kl_coefficient_follows_its_target() -> None:
    models, data = setting()
    assert PPO(kl_coef=0.2).init(models) == {"kl_coef": 0.2, "updates": 0}
    fixed = PPO().after({"kl_coef": 0.2, "updates": 3}, data, {"kl": 99.0})
    assert fixed == {"kl_coef": 0.2, "updates": 4}
    moved = PPO(kl_target=6.0, kl_horizon=100).after({"kl_coef": 0.2, "updates": 3}, data, {"kl": 99.0})
    assert moved["kl_coef"] == pytest.approx(0.2 * (1 + 0.2 * data.tokens.rows / 100))


def test_without_a_value_head_it_says_so() -> None:
    models, data = setting()
    with pytest.raises(ValueError, match=r"build the policy with value='shared' or value='separate'"):
        PPO().prepare(data, Models(policy=LanguageModel(causal()), reference=models.reference), 0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({name: -0.1}, f"ppo.{name} must be >= 0, got -0.1") for name in
          ("kl_coef", "clip", "value_clip", "value_coef", "entropy_coef", "pretraining_coef")),
        *(({name: 0}, f"ppo.{name} must be > 0, got 0") for name in ("kl_horizon", "epochs", "minibatches")),
        *(({name: x}, rf"ppo.{name} must be in \[0, 1\], got {x}") for name in ("gamma", "lam") for x in (-0.1, 1.1)),
        ({"kl_coef": math.nan}, "ppo.kl_coef must be >= 0, got nan"),
        ({"kl_target": 0}, r"ppo.kl_target must be > 0 nats per response \(or None\), got 0"),
    ],
)  # fmt: skip
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PPO(**options)


@pytest.mark.learns
def test_it_learns_to_say_what_is_rewarded(tmp_path: Any) -> None:
    """A random model is paid for lower-case letters; the mean reward rises, and with no pay it stays where it was."""
    tokenizer = Tokenizer(byte_pairs())

    def paid(amount: float) -> list[float]:
        policy = LanguageModel(causal(dtype=torch.float32, vocabulary=len(tokenizer.hf)), value="shared")
        rollouts = Rollouts(
            policy=policy,
            tokenizer=tokenizer,
            prompts=[Text(prompt=p, completion="") for p in ("the cat", "a dog", "hello", "user")],
            reward=Combiner(
                sources=[FunctionReward(lambda prompt, completion: amount * share(completion), "letters")],
            ),
            sampling=Sampling(max_new_tokens=4),
            steps=14,
            prompts_per_step=4,
            samples=4,
            audit=[FunctionReward(lambda prompt, completion: share(completion), "letters_unpaid")],
        )
        folder = tmp_path / f"paid-{amount}"
        models = Models(policy=policy, reference=Reference(policy))
        fit(PPO(kl_coef=0.01, epochs=2), models, rollouts, Optimisation(lr=1e-2, schedule="constant"), folder)
        return [row["audit/letters_unpaid"] for row in read_metrics(folder)]

    learned, control = paid(1.0), paid(0.0)
    assert mean(learned[-4:]) > mean(learned[:2]) + 0.2
    assert mean(learned[-4:]) > mean(control[-4:]) + 0.2


def share(text: str) -> float:
    return sum(c.islower() and c.isascii() for c in text) / max(1, len(text))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)
