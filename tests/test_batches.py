import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from small import random_pairs, random_rankings, random_tokens, tokens
from tercih.batches import Batch, Compared, Pairs, Rankings, Rollout
from tercih.tokens import Tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Everything(Batch):
    """A field on every axis there is."""

    per_prompt_P: Tensor
    per_row_B: Tensor
    per_token_BT: Tensor
    best_row_N: Tensor
    order_row_NK: Tensor
    weight_N: Tensor
    target_N3: Tensor
    missing_B: Tensor | None = None


def everything(samples: Sequence[int] = (2, 3, 1, 4, 2)) -> Everything:
    made = random_tokens(samples, holes=True)
    first = [sum(samples[:p]) for p in range(len(samples))]
    best = [f + s - 1 for f, s in zip(first, samples, strict=True)]
    wide = max(samples)
    order = [[*range(f, f + s), *[-1] * (wide - s)] for f, s in zip(first, samples, strict=True)]
    return Everything(
        tokens=made,
        per_prompt_P=torch.arange(len(samples)) + 100,
        per_row_B=torch.arange(made.rows) + 200,
        per_token_BT=torch.arange(made.response_ids_BT.numel()).view_as(made.response_ids_BT),
        best_row_N=torch.tensor(best),
        order_row_NK=torch.tensor(order),
        weight_N=torch.arange(len(samples)) + 300,
        target_N3=torch.arange(3 * len(samples)).view(-1, 3),
    )


def row(tokens: Tokens, b: int) -> tuple[list[int], list[int], list[bool]]:
    p = int(tokens.prompt_of_B[b])
    length = int(tokens.response_len_B[b])
    return (
        tokens.prompt_ids_PS[p, : tokens.prompt_len_P[p]].tolist(),
        tokens.response_ids_BT[b, :length].tolist(),
        tokens.loss_mask_BT[b].tolist()[:length],
    )


def facts(batch: Everything) -> set[tuple[object, ...]]:
    """All that a batch says, free of row numbers and padding."""
    said: set[tuple[object, ...]] = set()
    lengths = batch.tokens.response_len_B.tolist()
    for b in range(batch.tokens.rows):
        prompt = int(batch.per_prompt_P[batch.tokens.prompt_of_B[b]])
        per_token = tuple(batch.per_token_BT[b, : lengths[b]].tolist())
        said.add(("row", int(batch.per_row_B[b]), prompt, per_token, str(row(batch.tokens, b))))
    name = batch.per_row_B.tolist()
    for n in range(len(batch.weight_N)):
        order = tuple(name[i] if i >= 0 else None for i in batch.order_row_NK[n].tolist())
        about = (name[int(batch.best_row_N[n])], order, tuple(batch.target_N3[n].tolist()))
        said.add(("order", int(batch.weight_N[n]), *about))
    return said


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 7, 64])
def test_split_keeps_everything_and_cuts_between_prompts(rows: int) -> None:
    whole = everything()
    parts = list(whole.split(rows))
    assert set().union(*(facts(part) for part in parts)) == facts(whole)
    assert sum(part.tokens.rows for part in parts) == whole.tokens.rows
    assert sum(part.tokens.prompts for part in parts) == whole.tokens.prompts
    for part in parts:
        assert part.tokens.rows <= rows or part.tokens.prompts == 1
        assert part.missing_B is None
    if rows >= whole.tokens.rows:
        assert parts[0] is whole


def test_units_of_parts_add_up() -> None:
    for whole in (everything(), random_pairs(5), random_rankings()):
        parts = [part.units() for part in whole.split(3)]
        for name, count in whole.units().items():
            torch.testing.assert_close(torch.stack([units[name] for units in parts]).sum(), count)


def test_take_in_any_order_renumbers_rows() -> None:
    whole, rng = everything(), random.Random(0)
    for _ in range(30):
        prompts = rng.sample(range(5), rng.randint(1, 5))
        part = whole.take(torch.tensor(prompts))
        assert part.per_prompt_P.tolist() == [100 + p for p in prompts]
        wanted = {fact for p in prompts for fact in facts(whole.take(torch.tensor([p])))}
        assert facts(part) == wanted <= facts(whole)
        assert part.tokens.response_ids_BT.shape[1] == int(part.tokens.response_len_B.max())
        assert part.tokens.prompt_ids_PS.shape[1] == int(part.tokens.prompt_len_P.max())
        assert part.per_token_BT.shape == part.tokens.response_ids_BT.shape


def test_padding_of_short_rankings_stays_padding() -> None:
    batch = random_rankings((2, 4, 3))
    for part in batch.split(1):
        whole = (batch.order_row_NK >= 0).sum(1).tolist()
        assert (part.order_row_NK >= 0).sum() == part.tokens.rows
        assert int((part.order_row_NK >= 0).sum()) in whole
    last = batch.take(torch.tensor([0, 2]))
    assert (last.order_row_NK >= 0).sum(1).tolist() == [2, 3]


def test_a_comparison_across_prompts_cannot_be_cut_apart() -> None:
    pairs = random_pairs(3)
    across = replace(pairs, second_row_N=pairs.second_row_N.flip(0))
    with pytest.raises(ValueError, match=r"compares rows of different prompts"):
        across.take(torch.tensor([0, 1]))
    assert next(across.split(64)) is across


def test_lengths_count_prompt_and_response() -> None:
    made = tokens([[5, 6], [7]], [[8], [9, 10, 11], [12, 13]], [0, 1, 1])
    assert made.lengths_B.tolist() == [3, 4, 3]
    assert (made.prompts, made.rows) == (2, 3)


def test_comparisons_weigh_what_their_raters_weigh() -> None:
    pairs = random_pairs(4)
    assert float(pairs.units()["comparisons"]) == pytest.approx(float(pairs.weight_N.sum()))
    assert int(pairs.units()["prompts"]) == 4
    assert int(pairs.units()["rows"]) == 10
    assert int(pairs.units()["tokens"]) == int(pairs.tokens.loss_mask_BT.sum())


def test_a_rollout_describes_its_parts_as_means() -> None:
    made = random_tokens([1, 2])
    scored = Rollout(
        tokens=made,
        logp_BT=torch.zeros(3, 1),
        reward_B=torch.zeros(3),
        ended_B=torch.zeros(3, dtype=torch.bool),
        parts={"length": torch.tensor([1.0, 2.0, 6.0])},
        version=3,
    )
    total, count = scored.describe()["length"]
    assert float(total / count) == 3


def test_a_rollout_describes_all_that_was_sampled() -> None:
    made = random_tokens([1, 3, 2], holes=True)
    mask_BT = made.loss_mask_BT
    logp_BT = torch.where(mask_BT, -torch.rand(mask_BT.shape), torch.nan)
    reward_B, ended_B = torch.tensor([5.0, 0.1, 0.1, 0.1, 1.0, 2.0]), torch.tensor([True] * 4 + [False] * 2)
    scored = Rollout(
        tokens=made, logp_BT=logp_BT, reward_B=reward_B, ended_B=ended_B, parts={"reward": reward_B * 9}, version=3
    )
    metrics = {name: float(total / count) for name, (total, count) in scored.describe().items()}
    assert metrics["reward"] == pytest.approx(float(reward_B.mean())), "the combined one, whatever a part is called"
    assert metrics["entropy"] == pytest.approx(float(-logp_BT[mask_BT].mean()))
    assert metrics["response_length"] == pytest.approx(float(made.response_len_B.double().mean()))
    assert metrics["ended"] == pytest.approx(4 / 6)
    assert metrics["spread"] == pytest.approx(1 / 3)
    assert scored.spread_P.tolist() == [False, False, True]


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 5, 6])
def test_minibatches_are_as_many_as_asked_for_and_hold_every_prompt_once(parts: int) -> None:
    made = random_tokens([2] * 6)
    score_B, zeros_BT = torch.arange(12.0, dtype=torch.float64), torch.zeros(made.loss_mask_BT.shape)
    whole = Compared(tokens=made, old_logp_BT=zeros_BT, advantage_B=score_B)
    found = list(whole.updates(1, parts, seed=0))
    assert len(found) == parts
    seen = [part.advantage_B for part in found]
    assert sorted(torch.cat(seen).tolist()) == score_B.tolist()
    assert max(map(len, seen)) - min(map(len, seen)) <= 2, "parts are as equal as whole prompts allow"
    if parts > 1:
        again, other = list(whole.updates(1, parts, seed=0)), list(whole.updates(1, parts, seed=1))
        assert all(torch.equal(a.advantage_B, b.advantage_B) for a, b in zip(found, again, strict=True))
        assert any(not torch.equal(a.advantage_B, b.advantage_B) for a, b in zip(found, other, strict=False))


def test_every_epoch_is_cut_anew() -> None:
    made = random_tokens([2] * 6)
    zeros_BT = torch.zeros(made.loss_mask_BT.shape)
    whole = Compared(tokens=made, old_logp_BT=zeros_BT, advantage_B=torch.arange(12.0))
    assert list(whole.updates(3, 1, seed=0)) == [whole] * 3
    epochs = list(whole.updates(3, 2, seed=0))
    assert len(epochs) == 6
    assert len({tuple(part.advantage_B.tolist()) for part in epochs[::2]}) > 1


def test_a_group_is_cut_only_where_its_rows_stand_alone() -> None:
    made = random_tokens([2, 5, 1])
    whole = Compared(tokens=made, old_logp_BT=torch.rand(made.loss_mask_BT.shape), advantage_B=torch.arange(8.0))
    parts = list(whole.split(2))
    assert [part.advantage_B.tolist() for part in parts] == [[0, 1], [2, 3], [4, 5], [6], [7]]
    for part in parts:
        assert torch.equal(part.tokens.prompt_of_B, torch.zeros(part.tokens.rows, dtype=torch.long))
        row, T = int(part.advantage_B[0]), part.tokens.response_ids_BT.shape[1]
        assert torch.equal(part.tokens.response_ids_BT[0], made.response_ids_BT[row, :T])
        assert torch.equal(part.old_logp_BT, whole.old_logp_BT[row : row + part.tokens.rows, :T])
    assert [part.tokens.rows for part in Batch(tokens=made).split(2)] == [2, 5, 1]


def test_too_many_minibatches() -> None:
    made = random_tokens([2] * 4)
    whole = Compared(tokens=made, old_logp_BT=torch.zeros(made.loss_mask_BT.shape), advantage_B=torch.zeros(8))
    with pytest.raises(ValueError, match=r"minibatches is 5, but a rollout has only 4 prompts"):
        list(whole.updates(1, 5, seed=0))


@pytest.mark.parametrize("make", [lambda: random_pairs(3), random_rankings, everything])
def test_to_moves_every_tensor(make: object) -> None:
    batch: Pairs | Rankings | Everything = make()  # type: ignore[operator]
    moved = batch.to("meta")
    for name in type(batch).__dataclass_fields__:
        value = getattr(moved, name)
        if isinstance(value, Tensor):
            assert value.device.type == "meta", name
    assert moved.tokens.response_ids_BT.device.type == "meta"
