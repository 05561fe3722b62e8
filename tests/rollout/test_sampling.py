import numpy as np
import pytest
import torch

from tercih.rollout import sampling
from tercih.rollout.sampling import Sampling, draw, uniforms

LOGITS = torch.tensor([[0.0, 2.0, 1.0, -1.0]])


def drawn(u: float, sampling: Sampling, logits: torch.Tensor = LOGITS) -> tuple[int, float]:
    token, logp = draw(logits, torch.tensor([u], dtype=torch.float64), sampling)
    return int(token), float(logp)


def test_the_token_is_the_first_whose_cumulated_probability_exceeds_the_uniform_number():
    p = LOGITS[0].softmax(-1).double()
    cdf = p.cumsum(0)
    for token in range(4):
        below, above = (0.0 if token == 0 else float(cdf[token - 1])), float(cdf[token])
        for u in (below + 1e-6, above - 1e-6):
            assert drawn(u, Sampling()) == (token, pytest.approx(float(p[token].log()), abs=1e-6))


def test_the_ends_of_the_unit_interval_never_give_a_token_of_probability_zero():
    logits = torch.tensor([[-torch.inf, 0.0, 0.1, -torch.inf]])
    assert drawn(0.0, Sampling(), logits)[0] == 1
    assert drawn(float(np.nextafter(1, 0)), Sampling(), logits)[0] == 2
    assert drawn(1.0, Sampling(), logits)[0] == 2


@pytest.mark.parametrize("vocabulary", [255, 256, 257, 5000])
def test_large_vocabularies_are_inverted_exactly(vocabulary: int):
    """Against numpy's plain cumulative sum, with most tokens excluded and numbers on the very edges among the rest."""
    rng = np.random.default_rng(vocabulary)
    logits = torch.from_numpy(
        np.where(rng.random((1, vocabulary)) < 0.7, -np.inf, rng.normal(size=(1, vocabulary)) * 3)
    )
    cdf = logits.softmax(-1).numpy()[0].cumsum()
    cdf /= cdf[-1]
    numbers = np.concatenate([rng.random(2000), [0.0, np.nextafter(1, 0)]])
    tokens, logp = draw(logits.expand(len(numbers), -1), torch.from_numpy(numbers), Sampling())
    assert tokens.tolist() == np.searchsorted(cdf, numbers, side="right").tolist()
    assert torch.allclose(logp, logits.log_softmax(-1)[0, tokens], rtol=0, atol=1e-12)
    edges, _ = draw(logits.expand(vocabulary, -1), torch.from_numpy(cdf), Sampling())
    assert torch.isfinite(logits[0, edges]).all()


def test_temperature_zero_takes_the_likeliest_with_certainty():
    assert drawn(0.99, Sampling(temperature=0)) == (1, 0.0)


def test_top_k_renormalises_over_the_k_likeliest():
    sampling = Sampling(top_k=2, temperature=0.5)
    p = (LOGITS[0, 1:3] / 0.5).softmax(-1)
    assert drawn(0.0, sampling) == (1, pytest.approx(float(p[0].log()), abs=1e-6))
    assert drawn(0.999, sampling) == (2, pytest.approx(float(p[1].log()), abs=1e-6))


@pytest.mark.parametrize(("top_p", "kept"), [(0.5, {1}), (0.7, {1, 2}), (0.95, {0, 1, 2}), (0.999, {0, 1, 2, 3})])
def test_top_p_keeps_the_smallest_set_that_holds_so_much(top_p: float, kept: set[int]):
    assert {drawn(u, Sampling(top_p=top_p))[0] for u in np.linspace(0, 0.9999, 200)} == kept


def test_top_p_works_on_what_top_k_left():
    p = LOGITS[0].softmax(-1)
    share = float(p[1] / (p[1] + p[2]))  # 0.73 of two tokens, 0.64 of all
    assert drawn(0.999, Sampling(top_k=2, top_p=0.7))[0] == 1
    assert share > 0.7 > float(p[1])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_show_in_the_log_probability(bad: float, temperature: float):
    logits = LOGITS.clone()
    logits[0, 2] = bad
    assert not np.isfinite(drawn(0.5, Sampling(temperature=temperature), logits)[1])


def test_streams_are_named_by_seed_key_and_sample_and_do_not_depend_on_their_length():
    assert np.array_equal(uniforms(1, 2, 3, 10)[:4], uniforms(1, 2, 3, 4))
    heads = {uniforms(*name, 1)[0] for name in [(1, 2, 3), (1, 2, 4), (1, 3, 3), (2, 2, 3), (1, 3, 2)]}
    assert len(heads) == 5
    many = np.concatenate([uniforms(0, key, 0, 64) for key in range(500)])
    assert abs(many.mean() - 0.5) < 4 / np.sqrt(12 * len(many))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_new_tokens", 0), ("temperature", -1.0), ("temperature", float("nan")), ("temperature", float("inf")),
        ("top_k", -1), ("top_p", 0.0), ("top_p", 1.5), ("stop", ("",)), ("stop", "text"),
    ],
)  # fmt: skip
def test_wrong_settings_are_named(field: str, value: object):
    with pytest.raises(ValueError, match=rf"sampling\.{field}.*got"):
        Sampling(**{field: value})


def test_truncated():
    assert not Sampling(temperature=0.7).truncated
    assert Sampling(top_k=3).truncated
    assert Sampling(top_p=0.9).truncated


@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.9, 0.999, 0.9999999])
@pytest.mark.parametrize("sharpness", [0.01, 1.0, 5.0])  # from hundreds of tokens in the nucleus to a few
def test_a_nucleus_is_found_without_sorting_everything(top_p: float, sharpness: float) -> None:
    logits_BV = sharpness * torch.randn(3, 1500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kept_BV = sampling._restrict(logits_BV, Sampling(top_p=top_p)).isfinite()
    sorted_BV, order_BV = logits_BV.sort(dim=-1, descending=True)
    p_BV = sorted_BV.softmax(-1)
    expected_BV = torch.zeros_like(kept_BV).scatter_(1, order_BV, p_BV.cumsum(-1) - p_BV < top_p)
    assert torch.equal(kept_BV, expected_BV)


def test_what_ties_with_the_last_of_a_nucleus_is_kept() -> None:
    logits_BV = torch.tensor([[0.0, 1.0, 1.0, 1.0, -1.0]])
    assert sampling._restrict(logits_BV, Sampling(top_p=0.3)).isfinite().tolist() == [[False, True, True, True, False]]
