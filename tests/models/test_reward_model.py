import math

import pytest
import torch

from small import causal, random_tokens, tokens
from tercih.models import stream, trunk
from tercih.models.reward_model import RewardModel
from tercih.tokens import Tokens


@pytest.fixture(autouse=True, params=[64, 0], ids=["together", "cut"])
def extra(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything once more with as many passes as there are lengths, and every prompt read once."""
    monkeypatch.setattr(trunk, "PASS", {"cpu": request.param})
    monkeypatch.setattr(stream, "SEGMENT", {"cpu": request.param})


def by_hand(model: RewardModel, made: Tokens) -> list[float]:
    scores = []
    for b in range(made.rows):
        p, length = int(made.prompt_of_B[b]), int(made.response_len_B[b])
        ids = torch.cat([made.prompt_ids_PS[p, : made.prompt_len_P[p]], made.response_ids_BT[b, :length]])
        hidden = model.causal.base_model(input_ids=ids[None]).last_hidden_state[0]
        read = hidden[-1:] if model.readout == "last" else hidden[-length:]
        scores.append(float(model.score_head(read).mean().detach()) * float(model.gain) + float(model.shift))
    return scores


@pytest.mark.parametrize("readout", ["last", "mean"])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3"])
def test_a_score_is_read_where_it_should_be(kind: str, readout: str) -> None:
    model = RewardModel(causal(kind), readout=readout)
    model.gain.fill_(2.0)
    model.shift.fill_(-1.0)
    made = random_tokens([2, 1, 3], longest=9)
    torch.testing.assert_close(model(made).detach(), torch.tensor(by_hand(model, made), dtype=torch.float64))


@pytest.mark.parametrize("readout", ["last", "mean"])
def test_a_row_does_not_feel_its_batch_or_its_padding(readout: str) -> None:
    model, made = RewardModel(causal(), readout=readout), random_tokens([2, 1, 3], longest=9)
    whole = model(made)
    for p in range(3):
        torch.testing.assert_close(model(made.take(torch.tensor([p]))), whole[made.prompt_of_B == p])


def test_what_stands_in_the_padding_has_no_gradient() -> None:
    model = RewardModel(causal(), readout="mean")
    model(tokens([[3]], [[4, 5, 6], [7]], [0, 0])).sum().backward()
    touched = model.causal.base_model.embed_tokens.weight.grad.abs().sum(1) > 0
    assert touched.nonzero().squeeze(1).tolist() == [3, 4, 5, 6, 7]


@pytest.mark.parametrize("readout", ["last", "mean"])
def test_normalise_gives_mean_zero_and_variance_one_again_and_again(readout: str) -> None:
    model = RewardModel(causal(), readout=readout)
    parts = [random_tokens([1] * 7, seed=0), random_tokens([2] * 5, seed=1)]
    before = torch.cat([model(part) for part in parts]).detach()
    for _ in range(2):
        model.normalise(parts)
        after = torch.cat([model(part) for part in parts]).detach()
        assert float(after.mean()) == pytest.approx(0, abs=1e-12)
        assert float(after.std(unbiased=False)) == pytest.approx(1, abs=1e-12)
        assert torch.equal(after.argsort(), before.argsort())
        with torch.no_grad():
            model.score_head.weight *= 3
            model.score_head.bias += 1


def test_scores_all_alike_cannot_be_normalised() -> None:
    model = RewardModel(causal())
    torch.nn.init.zeros_(model.score_head.weight)
    with pytest.raises(ValueError, match=r"scores 4 samples all alike"):
        model.normalise([random_tokens([4])])


def test_the_head_starts_as_ziegler_et_al_have_it() -> None:
    width = 16
    weights = torch.cat([RewardModel(causal(), seed=seed).score_head.weight.detach() for seed in range(60)])
    assert float(weights.std()) == pytest.approx(1 / math.sqrt(width + 1), rel=0.1)
    assert float(weights.mean()) == pytest.approx(0, abs=0.03)
    one, same, other = (RewardModel(causal(), seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.score_head.weight, same.score_head.weight)
    assert not torch.equal(one.score_head.weight, other.score_head.weight)
    assert float(one.score_head.bias.detach()) == 0


def test_a_half_precision_trunk_keeps_a_whole_head() -> None:
    model = RewardModel(causal(dtype=torch.bfloat16))
    assert model.score_head.weight.dtype == torch.float32
    assert model(random_tokens([2])).dtype == torch.float32


def test_unknown_readouts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"reward_model.readout must be one of \('last', 'mean'\), got 'first'"):
        RewardModel(causal(), readout="first")
