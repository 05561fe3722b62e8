"""A policy that may not say everything: what the engine samples is what the learner computes, token by token."""

from dataclasses import replace

import pytest
import torch

from rollout.test_sampler import rollouts
from tercih.batches import Rollout
from tercih.forward import Want
from tercih.models.language_model import LanguageModel
from tercih.models.nucleus import Nucleus, packed, unpacked
from tercih.rollout.sampler import Rollouts

TOP_P, KEEP = 0.5, 3


def test_bits_and_back() -> None:
    allowed_MV = torch.rand(7, 29, generator=torch.Generator().manual_seed(0)) > 0.5
    assert packed(allowed_MV).shape == (7, 4)
    assert unpacked(packed(allowed_MV), 29).equal(allowed_MV)


def test_a_nucleus_by_hand() -> None:
    logits_MV = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.97, 0.01, 0.01, 0.01], [0.25, 0.25, 0.25, 0.25]]).log()
    stale = None  # the arithmetic asks no model
    wide, narrow = (Nucleus(stale, 0.75, keep).allowed(logits_MV).tolist() for keep in (1, 3))  # type: ignore[arg-type]
    assert wide == [[True, True, False, False], [True, False, False, False], [True] * 4]
    assert narrow == [[True, True, True, False], [True] * 4, [True] * 4]  # with all that tie
    assert Nucleus(stale, 1.0, 1).allowed(logits_MV).all()  # type: ignore[arg-type]


def stale(kind: str, dtype: torch.dtype = torch.float32, max_batch: int = 256) -> Rollouts:
    """The mask is that of an older policy."""
    data = rollouts(0, 6, kind=kind, dtype=dtype, max_batch=max_batch)
    data.policy.mask(top_p=TOP_P, keep=KEEP)
    draws = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in data.policy.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=draws).to(p.dtype))
    return data


def by_hand(policy: LanguageModel, data: Rollout) -> list[torch.Tensor]:
    """Of every response, which tokens each of its places allows: one plain pass of the older policy over each."""
    assert policy.nucleus is not None
    found = []
    for row, prompt in enumerate(data.tokens.prompt_of_B.tolist()):
        ids = data.tokens.prompt_ids_PS[prompt, : data.tokens.prompt_len_P[prompt]].tolist()
        response = data.tokens.response_ids_BT[row, : data.tokens.response_len_B[row]].tolist()
        with torch.no_grad():
            logits_TV = policy.nucleus.stale.causal(torch.tensor([ids + response])).logits[0, len(ids) - 1 : -1]
        ordered_TV, index_TV = logits_TV.softmax(-1).sort(descending=True)
        before_TV = ordered_TV.cumsum(-1) - ordered_TV
        kept_TV = (before_TV < TOP_P) | (torch.arange(logits_TV.shape[1]) < KEEP)
        found.append(torch.zeros_like(kept_TV).scatter(1, index_TV, kept_TV))
    return found


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
def test_what_is_sampled_is_what_is_learned(kind: str) -> None:
    """Through the quick decoder, through the model's own forward, and with logits that are more than a matrix."""
    sampler = stale(kind)
    data, policy = sampler(0), sampler.policy
    with torch.no_grad():
        found = policy(data.tokens, Want(allowed=True))
        masked_BT = policy(replace(data.tokens, allowed_BTW=found.allowed_BTW)).logp_BT
    torch.testing.assert_close(masked_BT, data.logp_BT, atol=1e-4, rtol=0)
    torch.testing.assert_close(masked_BT, found.logp_BT - found.kept_BT, atol=1e-4, rtol=0)
    assert float(found.kept_BT.min()) < -0.1, "the mask takes something away"
    vocabulary = policy.config.vocab_size
    for row, allowed_TV in enumerate(by_hand(policy, data)):
        bits_TV = unpacked(found.allowed_BTW[row, : len(allowed_TV)], vocabulary)
        assert bits_TV.equal(allowed_TV)
        assert not allowed_TV.all()
        response = data.tokens.response_ids_BT[row, : len(allowed_TV)]
        assert allowed_TV.gather(1, response[:, None]).all()


def test_what_may_not_be_said_has_no_probability_and_no_gradient() -> None:
    sampler = stale("llama", torch.float64)
    data, policy = sampler(0), sampler.policy
    with torch.no_grad():
        found = policy(data.tokens, Want(logp=False, allowed=True))
    allowed = unpacked(found.allowed_BTW.flatten(0, 1), policy.config.vocab_size)
    other = (~allowed).int().argmax(1).view(data.tokens.response_ids_BT.shape)  # a token outside the mask
    tokens = replace(data.tokens, allowed_BTW=found.allowed_BTW)
    wrong = replace(tokens, response_ids_BT=torch.cat([other[:, :1], tokens.response_ids_BT[:, 1:]], 1))
    first_B = policy(wrong, Want(entropy=True)).logp_BT[:, 0]
    assert first_B.exp().eq(0).all()
    first_B.exp().sum().backward()
    assert all(p.grad is None or p.grad.eq(0).all() for p in policy.parameters())


def test_masked_responses_do_not_depend_on_the_batch() -> None:
    one, other = (stale("gpt2", torch.float64, max_batch=size)(0) for size in (3, 64))
    assert one.tokens.response_ids_BT.equal(other.tokens.response_ids_BT)


def test_an_engine_that_rounds_is_refused() -> None:
    with pytest.raises(ValueError, match="samples from a masked policy, which only the built-in engine does"):
        stale("llama", torch.bfloat16)(0)
