"""Methods that select, weigh or condition on scores, by hand: which rows count how much, which words stand where."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from small import AnyWords, Fixed, causal, random_scored, random_tokens, rollout, tokens
from tercih.algorithms.awr import AWR, awr_weight
from tercih.algorithms.conditional import Conditional
from tercih.algorithms.context_distillation import ContextDistillation
from tercih.algorithms.filtered_sft import FilteredSFT
from tercih.algorithms.quark import Quark, quantile
from tercih.algorithms.raft import RAFT
from tercih.algorithms.rwr import RWR, rwr_weight
from tercih.algorithms.sft import SFT
from tercih.algorithms.unlikelihood import Unlikelihood, unlikelihood
from tercih.batches import Batch, Rollout, Scored
from tercih.forward import Models
from tercih.method import Method
from tercih.models.language_model import LanguageModel, Reference
from tercih.ops import best_of_group, best_share
from tercih.optimisation import Optimisation
from tercih.train import fit


def numbers(*of: float) -> Tensor:
    return torch.tensor(of, dtype=torch.float64)


def scored(*of: float) -> Scored:
    """One response to every prompt."""
    return Scored(tokens=random_tokens([1] * len(of)), score_B=numbers(*of), weight_B=torch.ones(len(of)).double())


def test_the_best_of_every_group_and_of_equals_the_first() -> None:
    group_B = torch.tensor([0, 1, 0, 1, 0, 2, 2])
    best_B = best_of_group(numbers(1.0, 5.0, 3.0, 5.0, 3.0, -2.0, -1.0), group_B)
    assert best_B.tolist() == [False, True, True, False, False, False, True]
    with pytest.raises(ValueError, match="only one response"):
        best_of_group(numbers(1.0, 2.0, 3.0), torch.tensor([0, 0, 1]))


def test_the_best_share_is_of_weight() -> None:
    x_B = numbers(1.0, 4.0, 2.0, 3.0)
    assert best_share(x_B, torch.ones(4), 0.5).tolist() == [False, True, False, True]
    assert best_share(x_B, numbers(1.0, 3.0, 1.0, 1.0), 0.5).tolist() == [False, True, False, False]
    assert int(best_share(torch.zeros(10), torch.ones(10), 0.7).sum()) == 7, "rounding adds no row"
    assert best_share(torch.zeros(3), torch.ones(3), 0.1).tolist() == [True, False, False]


def test_raft_keeps_the_best_of_every_prompt_once_an_epoch() -> None:
    data = rollout(random_tokens([2, 3, 2]), torch.zeros(7, 7, dtype=torch.float64))
    data.reward_B[:] = numbers(0.0, 1.0, 5.0, 4.0, 3.0, 2.0, 2.0)
    found = list(RAFT(epochs=3).batches(data, Models(policy=torch.nn.Identity()), {}))
    assert [batch.score_B.tolist() for batch in found] == [[1.0, 5.0, 2.0]] * 3
    (top,) = RAFT(epochs=1, fraction=0.4).batches(data, Models(policy=torch.nn.Identity()), {})
    assert top.score_B.tolist() == [5.0, 4.0, 3.0], "the whole rollout, whatever the prompt"
    assert top.tokens.prompts == 1
    assert len(list(RAFT(epochs=2, minibatches=3).batches(data, Models(policy=torch.nn.Identity()), {}))) == 6


@pytest.mark.parametrize("method", [RWR(beta=1e12), FilteredSFT(threshold=-9.0), RAFT(epochs=1, fraction=1 - 1e-9)])
def test_where_all_count_alike_it_is_sft(method: Method) -> None:
    policy, data = LanguageModel(causal()), random_scored([1, 2, 1])
    data.weight_B[:] = 1.0
    item = rollout(data.tokens, torch.zeros(4, 7)) if method.learns_from == "rollouts" else data
    (batch,) = method.batches(item, Models(policy=policy), {})
    (plain,) = SFT().loss(policy, data).terms.values()
    (term,) = method.loss(policy, batch).terms.values()
    assert float(term.sum.detach()) == pytest.approx(float(plain.sum.detach()), rel=1e-9)
    assert term.per == plain.per == "tokens"


def test_weights_have_a_mean_of_one_and_what_has_none_is_not_read() -> None:
    (batch,) = RWR(beta=2.0).batches(scored(1.0, 3.0, -1e9), Models(policy=torch.nn.Identity()), {})
    low, high = math.exp(-1.0), 1.0
    mean = (low + high) / 2
    assert batch.weight_B.tolist() == pytest.approx([low / mean, high / mean])
    assert rwr_weight(numbers(1e6, 1e6 - 2), 2.0).tolist() == pytest.approx([1.0, math.exp(-1)]), "nothing overflows"


def test_where_nothing_is_accepted_there_is_no_update() -> None:
    data = scored(0.1, 0.2, 0.3)
    assert not list(FilteredSFT(threshold=0.5).batches(data, Models(policy=torch.nn.Identity()), {}))
    (batch,) = FilteredSFT(threshold=0.2).batches(data, Models(policy=torch.nn.Identity()), {})
    assert batch.score_B.tolist() == [0.2, 0.3]
    (batch,) = FilteredSFT(threshold=None, fraction=0.3).batches(data, Models(policy=torch.nn.Identity()), {})
    assert batch.score_B.tolist() == [0.3]


def test_an_advantage_weight_by_hand() -> None:
    assert awr_weight(numbers(2.0, 1e9), numbers(1.0, 0.0), 0.5, 20.0).tolist() == pytest.approx([math.exp(2), 20.0])
    policy = LanguageModel(causal(), value="shared")
    data = scored(2.0, -1.0)
    terms = AWR(alpha=0.25, beta=2.0, cap=2.0).loss(policy, data).terms
    logp_BT = policy(data.tokens).logp_BT.detach()
    weights = [min(math.exp(score / 2), 2.0) for score in (2.0, -1.0)]  # the value head begins at 0
    expected = -sum(w * float(logp_T.sum()) for w, logp_T in zip(weights, logp_BT, strict=True))
    lengths = data.tokens.loss_mask_BT.sum(1).tolist()
    assert float(terms["nll"].sum.detach()) == pytest.approx(expected)
    assert float(terms["value"].sum.detach()) == pytest.approx(4 * lengths[0] + 1 * lengths[1])
    assert (terms["nll"].weight, terms["value"].weight) == (0.25, 0.75)


def test_a_weight_has_no_gradient() -> None:
    policy = LanguageModel(causal(), value="shared")
    assert policy.value_head is not None
    AWR(beta=1.0).loss(policy, scored(2.0, -1.0)).terms["nll"].sum.backward()  # type: ignore[no-untyped-call]
    assert policy.value_head.weight.grad is None


def test_words_stand_between_prompt_and_response() -> None:
    made = tokens([[5, 6], [7]], [[8], [9, 10], [11]], [0, 0, 1])
    words, which_B = [[20, 21], [22], []], torch.tensor([1, 0, 2])
    told = made.with_words(words, which_B)
    seen = [told.prompt_ids_PS[p, : told.prompt_len_P[p]].tolist() for p in told.prompt_of_B.tolist()]
    assert seen == [[5, 6, 22], [5, 6, 20, 21], [7]]
    assert told.response_ids_BT.tolist() == made.response_ids_BT.tolist()
    assert made.with_words(words, torch.tensor([0, 0, 0])).prompts == 2, "those to whom all is alike share a prompt"
    assert told.without_words([]).prompt_len_P.tolist() == told.prompt_len_P.tolist()


def test_words_may_stand_behind_the_beginning_of_a_prompt() -> None:
    made = tokens([[1, 6, 7], [1]], [[8], [9, 10]], [0, 1])
    for after, expected in ((0, [[20, 21, 1, 6, 7], [20, 21, 1]]), (1, [[1, 20, 21, 6, 7], [1, 20, 21]])):
        told = made.with_words([[20, 21]], torch.tensor([0, 0]), after=after)
        seen = [told.prompt_ids_PS[p, : told.prompt_len_P[p]].tolist() for p in told.prompt_of_B.tolist()]
        assert seen == expected


def test_a_context_is_read_by_the_reference_alone_and_without_it_there_is_nothing_to_learn() -> None:
    data, policy = Batch(tokens=random_tokens([2, 1])), LanguageModel(causal())
    reference = Reference(policy)
    for context, least, most in (([20, 21], 0.01, 99.0), ([], 0.0, 1e-9)):
        method = ContextDistillation(context="c")
        both = Models(policy=policy, reference=reference, words={"": [], "c": context})
        (batch,) = method.batches(data, both, {})
        assert torch.equal(batch.tokens.prompt_len_P, data.tokens.prompt_len_P)
        (term,) = method.loss(policy, batch).terms.values()
        assert least <= float(term.sum.detach()) <= most


def test_good_and_bad_words_follow_the_threshold() -> None:
    models, data = Models(policy=torch.nn.Identity(), words=AnyWords()), scored(0.4, 0.6, 0.5)
    (batch,) = Conditional(threshold=0.5, good="+", bad="--", drop=0.0).batches(data, models, {"steps": 0})
    last = [
        batch.tokens.prompt_ids_PS[p, batch.tokens.prompt_len_P[p] - 2].item()
        for p in batch.tokens.prompt_of_B.tolist()
    ]
    assert last == [5, 4, 4]


def test_some_words_are_dropped_and_others_at_the_next_step() -> None:
    models, data = Models(policy=torch.nn.Identity(), words=AnyWords()), scored(*([1.0] * 400))
    method, counts = Conditional(drop=0.3), []
    for step in (0, 1, 1):
        (batch,) = method.batches(data, models, {"steps": step})
        plain_B = (batch.tokens.prompt_len_P == data.tokens.prompt_len_P)[batch.tokens.prompt_of_B]
        counts.append(plain_B.nonzero().squeeze(1).tolist())
    assert 80 < len(counts[0]) < 160
    assert counts[1] == counts[2] != counts[0]
    assert method.after({"steps": 4}, data, {}) == {"steps": 5}


def test_unlikelihood_by_hand() -> None:
    assert unlikelihood(numbers(math.log(0.75))).tolist() == pytest.approx([math.log(4)])
    certain = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    unlikelihood(certain).sum().backward()  # type: ignore[no-untyped-call]
    assert math.isfinite(float(unlikelihood(certain).detach()))
    assert certain.grad is not None
    assert math.isfinite(float(certain.grad))
    policy, data = LanguageModel(causal()), scored(1.0, -1.0)
    terms = Unlikelihood(alpha=0.3).loss(policy, data).terms
    logp_BT = policy(data.tokens).logp_BT.detach()
    good, bad = (logp_BT[row, : int(data.tokens.response_len_B[row])] for row in (0, 1))
    assert float(terms["nll"].sum.detach()) == pytest.approx(-float(good.sum()))
    assert float(terms["unlikelihood"].sum.detach()) == pytest.approx(-float((1 - bad.exp()).log().sum()))
    assert terms["unlikelihood"].weight == 0.3


def test_quantiles_are_as_equal_as_can_be() -> None:
    assert quantile(numbers(3.0, 1.0, 2.0, 5.0, 4.0, 0.0), 3).tolist() == [1, 0, 1, 2, 2, 0]
    assert quantile(torch.zeros(7), 3).bincount().tolist() == [3, 2, 2]
    assert quantile(numbers(1.0, 2.0), 5).tolist() == [0, 2], "of few some quantiles are empty"


def asked(seed: int, samples: list[int]) -> Rollout:
    """Every prompt ends with Quark's best word."""
    made = random_tokens(samples, seed)
    told = made.with_words([AnyWords()[Quark().asks_with]], torch.zeros_like(made.prompt_of_B))
    return rollout(told, torch.zeros(told.response_ids_BT.shape, dtype=torch.float64), seed)


def quark_models() -> Models:
    return Models(policy=LanguageModel(causal()), reference=Reference(LanguageModel(causal(seed=1))), words=AnyWords())


def test_a_pool_grows_and_is_sorted_anew() -> None:
    method, models, first, second = Quark(updates=1), quark_models(), asked(1, [2, 1]), asked(2, [1, 3, 1])
    state = method.after(method.init(models), first, {})
    (batch,) = method.batches(second, models, state)
    assert batch.tokens.rows == 8
    state = method.after(state, second, {})
    assert state["pool"]["score_B"].tolist() == [*first.reward_B.tolist(), *second.reward_B.tolist()]
    assert state["steps"] == 2
    (few,) = Quark(updates=1, rows=3).batches(second, models, state)
    assert few.tokens.rows == 3


def test_prompts_must_end_with_the_word_that_was_asked_with() -> None:
    unasked = rollout(random_tokens([2, 2]), torch.zeros(4, 7, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"does not end with the words.*Rollouts\(asking=…\)"):
        next(Quark().batches(unasked, quark_models(), {"steps": 0}))


class Rounds(Fixed):
    def __call__(self, step: int) -> Rollout:
        return asked(step, [2, 1, 2])


def test_a_pool_survives_a_kill(tmp_path: Path) -> None:
    """Stopped after two of four rollouts and gone on with, the same pool is learned from: the same weights."""
    method, optimisation = Quark(updates=2, rows=4), Optimisation(lr=1e-2, schedule="constant")
    whole, halves = quark_models(), quark_models()
    fit(method, whole, Rounds(None, steps=4), optimisation)
    fit(method, halves, Rounds(None, steps=2), optimisation, tmp_path)
    again = quark_models()
    fit(method, again, Rounds(None, steps=4), optimisation, tmp_path)
    for name, weight in whole.policy.state_dict().items():
        assert torch.equal(weight, again.policy.state_dict()[name]), name


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RAFT(fraction=0.0), r"raft\.fraction must be in \(0, 1\)"),
        (lambda: RAFT(epochs=0), r"raft\.epochs must be > 0"),
        (lambda: FilteredSFT(threshold=None), r"filtered_sft accepts everything"),
        (lambda: FilteredSFT(threshold=float("nan")), r"filtered_sft\.threshold must be a number"),
        (lambda: FilteredSFT(fraction=1.5), r"filtered_sft\.fraction must be in"),
        (lambda: RWR(beta=0), r"rwr\.beta must be > 0"),
        (lambda: AWR(alpha=1), r"awr\.alpha must be in \(0, 1\).*take rwr"),
        (lambda: AWR(cap=0), r"awr\.cap must be > 0"),
        (lambda: Conditional(good="x", bad="x"), r"two different texts"),
        (lambda: Conditional(drop=1), r"conditional\.drop must be in"),
        (lambda: Unlikelihood(alpha=-1), r"unlikelihood\.alpha must be >= 0"),
        (lambda: ContextDistillation(context=""), r"context must not be empty"),
        (lambda: Quark(quantiles=1), r"quark\.quantiles must be >= 2"),
        (lambda: Quark(word="best"), r"quark\.word needs a \{\}"),
    ],
)
def test_settings_out_of_range_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
