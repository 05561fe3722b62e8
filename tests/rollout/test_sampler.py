"""Rollouts for training: groups, further prompts where a group teaches nothing, and going on after a kill."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from small import byte_pairs, causal, random_tokens, rollout
from tercih.algorithms.dapo import DAPO
from tercih.algorithms.grpo import GRPO
from tercih.batches import Compared, Rollout
from tercih.data.tokenize import Tokenizer
from tercih.forward import Models
from tercih.models.language_model import LanguageModel
from tercih.records import Text
from tercih.rewards import Combiner, FunctionReward
from tercih.rollout.sampler import Rollouts, joined
from tercih.rollout.sampling import Sampling

EASY = "easy"


def mixed(prompt: str, completion: str) -> float:
    """Easy prompts are always answered right, the others by chance."""
    return 1.0 if EASY in prompt else float(len(completion) % 2)


def rollouts(
    easy: int, hard: int, *, kind: str = "llama", dtype: torch.dtype = torch.float32, **options: Any
) -> Rollouts:
    tokenizer = Tokenizer(byte_pairs())
    names = [f"{EASY} {n}" for n in range(easy)] + [f"the cat {n}" for n in range(hard)]
    return Rollouts(
        policy=LanguageModel(causal(kind, dtype=dtype, vocabulary=len(tokenizer.hf))),
        tokenizer=tokenizer,
        prompts=[Text(prompt=name, completion="") for name in names],
        reward=Combiner(sources=[FunctionReward(mixed, "right")]),
        **{"sampling": Sampling(max_new_tokens=4), "steps": 9, "prompts_per_step": 4, "samples": 8, **options},
    )


def prompts_of(data: Rollout) -> list[list[int]]:
    lengths = data.tokens.prompt_len_P.tolist()
    return [row[:n] for row, n in zip(data.tokens.prompt_ids_PS.tolist(), lengths, strict=True)]


def test_groups_are_prompt_major_and_their_own() -> None:
    data = rollouts(0, 6)(0)
    assert data.tokens.prompt_of_B.tolist() == [p for p in range(4) for _ in range(8)]
    assert len({tuple(row) for row in prompts_of(data)}) == 4


def test_further_prompts_are_asked_until_enough_have_spread() -> None:
    data, plain = rollouts(30, 10, refill=30), rollouts(30, 10)
    first, same = data(0), plain(0)
    assert int(first.spread_P.sum()) == 4
    assert first.tokens.prompts > 4
    assert prompts_of(first)[:4] == prompts_of(same), "the first round is what it would be without"
    assert torch.equal(first.reward_B[:32], same.reward_B)
    batches = list(DAPO(minibatches=1).batches(first, Models(policy=data.policy), {}))
    assert [batch.tokens.prompts for batch in batches] == [4]  # type: ignore[union-attr]


def test_it_stops_after_so_many_rounds() -> None:
    data = rollouts(8, 0, refill=2)(0)
    assert data.tokens.prompts == 3 * 4
    assert not data.spread_P.any()


def test_no_prompt_is_skipped_and_none_asked_twice_in_a_walk() -> None:
    data = rollouts(20, 20, refill=30)
    asked = [tuple(row) for step in range(9) for row in prompts_of(data(step))]
    assert len(asked) > 40
    assert len(set(asked[:40])) == 40


def test_a_step_is_the_same_after_a_kill() -> None:
    whole = rollouts(10, 10, refill=5)
    expected = [whole(step) for step in range(3)]
    before, after = rollouts(10, 10, refill=5), rollouts(10, 10, refill=5)
    for step in range(2):
        before(step)
    assert before.further > 0
    after.load_state_dict(before.state_dict())
    found = after(2)
    assert torch.equal(found.reward_B, expected[2].reward_B)
    assert torch.equal(found.tokens.response_ids_BT, expected[2].tokens.response_ids_BT)


def test_joined_keeps_every_response_with_its_prompt() -> None:
    parts = [
        rollout(made, torch.randn(made.loss_mask_BT.shape), seed=seed)
        for seed, made in enumerate((random_tokens([2, 3], seed=1, longest=3), random_tokens([1, 2], seed=2)))
    ]
    whole = joined(*parts)
    assert whole.tokens.prompt_of_B.tolist() == [0, 0, 1, 1, 1, 2, 3, 3]
    for part, prompts in zip(parts, ([0, 1], [2, 3]), strict=True):
        back = whole.take(torch.tensor(prompts))
        mask_BT = part.tokens.loss_mask_BT
        assert torch.equal(back.tokens.loss_mask_BT, mask_BT)
        assert torch.equal(back.tokens.response_ids_BT[mask_BT], part.tokens.response_ids_BT[mask_BT])
        assert torch.equal(back.logp_BT[mask_BT], part.logp_BT[mask_BT])
        assert torch.equal(back.reward_B, part.reward_B)
        assert prompts_of(back) == prompts_of(part)


def test_a_refill_needs_groups() -> None:
    with pytest.raises(ValueError, match="refill must be >= 0, and needs samples >= 2"):
        rollouts(1, 1, refill=-1)


# Whose log-probabilities the updates start from


def passes_of(data: Rollouts) -> list[int]:
    """Grows by one with every forward pass of the learner."""
    seen: list[int] = []
    data.policy.register_forward_pre_hook(lambda *_: seen.append(1))
    return seen


@pytest.mark.parametrize("kind", ["llama", "gpt2"])  # the second is configured with dropout
def test_the_engines_are_taken_where_they_are_the_learners(kind: str) -> None:
    data = rollouts(4, 4, kind=kind)
    passes = passes_of(data)
    data.policy.train()
    made = data(0)
    assert not passes, "nothing is read a second time"
    ratio_BT = (data.policy(made.tokens).logp_BT - made.logp_BT).exp()[made.tokens.loss_mask_BT]
    assert float((ratio_BT - 1).abs().max()) < 1e-5
    policy = LanguageModel(copy.deepcopy(data.policy.causal))
    (batch,) = GRPO(kl_coef=0.0).batches(made, Models(policy=policy), {})
    assert isinstance(batch, Compared)
    loss = GRPO(kl_coef=0.0, clip=1e-4).loss(policy, batch)
    assert float(loss.metrics["clip_fraction"][0]) == 0


def test_in_16_bits_the_learner_says_them_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """One token at a time and all at once may round differently; the ratio of the first update is 1, and not nearly."""
    data = rollouts(4, 4, dtype=torch.bfloat16)
    generate = data.sampler.generate

    def rounding(*given: Any, **options: Any) -> Any:
        generated = generate(*given, **options)
        return replace(generated, logp_BT=generated.logp_BT + 0.125)

    monkeypatch.setattr(data.sampler, "generate", rounding)
    passes = passes_of(data)
    made = data(0)
    assert len(passes) == 1
    mask_BT = made.tokens.loss_mask_BT
    assert torch.equal(data.policy(made.tokens).logp_BT[mask_BT], made.logp_BT[mask_BT])
    gap, count = made.measured["engine/gap"]
    assert float(gap / count) == pytest.approx(0.125, abs=0.02)
    assert made.tokens.correction_BT is not None


def test_after_an_update_they_are_still_those_of_the_rollout() -> None:
    data = rollouts(4, 4)
    made = data(0)
    method, seen = GRPO(kl_coef=0.0, epochs=2), []
    for batch in method.batches(made, Models(policy=data.policy), {}):
        assert isinstance(batch, Compared)
        assert torch.equal(batch.old_logp_BT, made.logp_BT)
        seen.append(float((data.policy(batch.tokens).logp_BT - batch.old_logp_BT).abs().max()))
        with torch.no_grad():
            data.policy.causal.lm_head.weight.mul_(1.1)
    assert seen[0] < 1e-5
    assert seen[1] > 1e-3
    later = data(1)
    assert float((data.policy(later.tokens).logp_BT - later.logp_BT).abs().max()) < 1e-5, "of the weights as they are"


@pytest.mark.parametrize(
    ("sampling", "said"),
    [
        (Sampling(top_k=5), "whole distribution"),
        (Sampling(top_p=0.9), "whole distribution"),
        (Sampling(temperature=0.7), "must be equal"),
    ],
)
def test_another_distribution_than_the_policys_is_refused(sampling: Sampling, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        rollouts(1, 1, sampling=sampling)


def test_with_a_rival_the_reward_is_the_chance_to_be_preferred_to_its_answer() -> None:
    told: list[list[str]] = []

    def length(prompt: str, completion: str) -> float:
        told[-1].append(completion)
        return float(len(completion))

    plain = rollouts(0, 6, samples=2)
    rival = LanguageModel(causal(vocabulary=len(plain.tokenizer.hf), dtype=torch.float32, seed=1))
    playing = rollouts(0, 6, samples=2, rival=rival)
    plain.reward = playing.reward = Combiner(sources=[FunctionReward(length, "length")])
    told.append([])
    alone = plain(0)
    told.append([])
    matched = playing(0)
    assert torch.equal(matched.tokens.response_ids_BT, alone.tokens.response_ids_BT), "what is trained on is the same"
    ours, theirs = told[1][:8], told[1][8:]
    assert ours == told[0]
    assert theirs != ours
    leads = [len(a) - len(b) for a, b in zip(ours, theirs, strict=True)]
    assert matched.reward_B.tolist() == pytest.approx(torch.tensor(leads).float().sigmoid().tolist())
    assert matched.parts["length"].tolist() == [float(len(a)) for a in ours]
