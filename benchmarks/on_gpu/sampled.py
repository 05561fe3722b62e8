"""The rollout engine on a device, judged by float64 on the processor: were its tokens those to be taken?"""

import torch
from torch import Tensor

from on_gpu.truth import TEMPERATURE, VOCABULARY, Errors, Plain, cast, furthest, weights
from tercih.rollout.engine import Engine, Generated
from tercih.rollout.sampling import Sampling, uniforms

LONGEST, SAMPLES, SLOTS, SEED = 40, 3, 4, 5
PROMPTS = (3, 17, 1, 30, 9)  # lengths
ENDS = range(2, 40)  # so that answers end at many lengths, and slots are given away


def errors(name: str, dtype: torch.dtype, device: torch.device) -> Errors:
    """Greedy: how much likelier another token was, in nats. Sampled: the log-probabilities, and how far a token's own
    random number lies outside its piece of the distribution function."""
    held, dice = weights(name, dtype), torch.Generator().manual_seed(3)
    prompts = [torch.randint(3, VOCABULARY, (n,), generator=dice).tolist() for n in PROMPTS]
    engine = Engine(cast(held, dtype, device), eos_ids=ENDS, max_batch=SLOTS)
    true = Plain(cast(held, torch.float64, torch.device("cpu")), TEMPERATURE)
    plain = Plain(cast(held, dtype, device), TEMPERATURE)

    greedy = engine.generate(prompts, Sampling(max_new_tokens=LONGEST, temperature=0), seed=SEED)
    sampling = Sampling(max_new_tokens=LONGEST, temperature=TEMPERATURE)
    drawn = engine.generate(prompts, sampling, samples=SAMPLES, seed=SEED)
    worse, off, outside = [], [], []
    for asked, answer, _logp, _sample in _answers(greedy, prompts, samples=1):
        truth_TV, plain_TV = _distributions(true, asked, answer), _distributions(plain, asked, answer)
        gap_T = truth_TV.amax(1) - truth_TV.gather(1, answer[:, None]).squeeze(1)
        worse.append((float(gap_T.max()), 2 * furthest(plain_TV, truth_TV)))
    for number, (asked, answer, logp_T, sample) in enumerate(_answers(drawn, prompts, samples=SAMPLES)):
        truth_TV, plain_TV = _distributions(true, asked, answer), _distributions(plain, asked, answer)
        taken_TV = truth_TV.gather(1, answer[:, None]).squeeze(1)
        off.append((furthest(logp_T, taken_TV), furthest(plain_TV.gather(1, answer[:, None]).squeeze(1), taken_TV)))
        cdf_TV, plain_cdf_TV = truth_TV.exp().cumsum(1), plain_TV.exp().cumsum(1)
        u_T = torch.from_numpy(uniforms(SEED, number // SAMPLES, sample, LONGEST))[: len(answer)]
        high_T = cdf_TV.gather(1, answer[:, None]).squeeze(1)
        beyond_T = torch.maximum(u_T - high_T, high_T - taken_TV.exp() - u_T).clamp(min=0)
        outside.append((float(beyond_T.max()), furthest(plain_cdf_TV, cdf_TV)))
    return {
        "rollout, greedy: another token was likelier by": _largest(worse),
        "rollout, sampled: log-probabilities": _largest(off),
        "rollout, sampled: random number outside the token's share": _largest(outside),
    }


def _answers(made: Generated, prompts: list[list[int]], *, samples: int) -> list[tuple[Tensor, Tensor, Tensor, int]]:
    """Prompt, answer, its log-probabilities and its number among those to its prompt; on the processor."""
    return [
        (
            torch.tensor(prompts[row // samples]),
            made.response_ids_BT[row, :length].cpu(),
            made.logp_BT[row, :length].cpu(),
            row % samples,
        )
        for row, length in enumerate(made.response_len_B.tolist())
    ]


@torch.no_grad()
def _distributions(model: Plain, asked: Tensor, answer: Tensor) -> Tensor:
    device = model.causal.device
    return model.distributions(asked.to(device), answer.to(device)).double().cpu()


def _largest(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    ours, plain = zip(*pairs, strict=True)
    return float(torch.tensor(ours).max()), max(plain)  # a NaN stays one
