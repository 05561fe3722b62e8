import copy
import itertools

import pytest
import torch
from scipy.stats import chi2
from tests.rollout.tiny import CONFIGS, CONTEXT, ENDS, VOCABULARY, full_logp, prompts, responses, tiny
from transformers import PreTrainedModel

from tercih.rollout import slots
from tercih.rollout.decoder import Plain, Whole, is_plain
from tercih.rollout.engine import Engine
from tercih.rollout.sampling import Sampling, _restrict

MANY = Sampling(max_new_tokens=24, temperature=0.9)


def engine(name: str = "llama", dtype: torch.dtype = torch.float64, max_batch: int = 8) -> Engine:
    return Engine(tiny(name, dtype), eos_ids=ENDS, decode=text, max_batch=max_batch)


def text(ids: list[int]) -> str:
    return "".join(chr(ord("A") + t) for t in ids)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", CONFIGS)
def test_logp_is_that_of_a_plain_forward_pass(name: str, dtype: torch.dtype):
    """Mixed prompt lengths, several samples each, a queue longer than the slots, and windows shorter than the text."""
    asked = prompts(12)
    sampler = engine(name, dtype)
    generated = sampler.generate(asked, MANY, samples=3, seed=4)
    # Gemma-2's own attention takes its softmax in float32, whatever the weights.
    tolerance = 1e-4 if dtype == torch.float32 else 1e-5 if name == "gemma2" else 1e-9
    assert generated.prompt_of_B.tolist() == [p for p in range(12) for _ in range(3)]
    assert generated.logp_BT.dtype == dtype
    lengths = set()
    for row, response in enumerate(responses(generated)):
        lengths.add(len(response))
        expected = full_logp(sampler.model, asked[row // 3], response, 0.9)
        assert torch.allclose(generated.logp_BT[row, : len(response)], expected.to(dtype), rtol=0, atol=tolerance)
        assert not generated.logp_BT[row, len(response) :].any()
        assert generated.ended_B[row] == (response[-1] in ENDS)
        assert not set(ENDS) & set(response[:-1])
    assert len(lengths) > 5
    assert generated.stats.tokens == int(generated.response_len_B.sum())
    assert 1 <= generated.stats.mean_rows <= 8


@pytest.mark.parametrize("name", CONFIGS)
def test_responses_do_not_depend_on_the_batch(name: str):
    asked = prompts(9)
    found = [responses(engine(name, max_batch=n).generate(asked, MANY, samples=2, seed=7)) for n in (1, 3, 8, 64)]
    assert all(other == found[0] for other in found)


def test_nearly_no_response_depends_on_the_batch_in_float32():
    asked = prompts(250)
    one, other = (
        responses(engine("llama", torch.float32, n).generate(asked, MANY, samples=4, seed=7)) for n in (50, 256)
    )
    assert sum(a == b for a, b in zip(one, other, strict=True)) >= 0.999 * len(one)


def test_keys_name_the_draws():
    asked, sampler = prompts(6), engine()
    keys = [10, 20, 30, 40, 50, 60]
    first = responses(sampler.generate(asked, MANY, samples=2, seed=0, keys=keys))
    order = [3, 0, 5, 1, 4, 2]
    moved = sampler.generate([asked[p] for p in order], MANY, samples=2, seed=0, keys=[keys[p] for p in order])
    assert [responses(moved)[2 * order.index(p) + s] for p in range(6) for s in range(2)] == first
    assert responses(sampler.generate(asked, MANY, samples=2, seed=0, keys=keys[::-1])) != first
    assert responses(sampler.generate(asked, MANY, samples=2, seed=1, keys=keys)) != first
    # Longer responses begin with the shorter ones.
    short = responses(
        sampler.generate(asked, Sampling(max_new_tokens=5, temperature=0.9), samples=2, seed=0, keys=keys)
    )
    assert all(whole[:5] == head for whole, head in zip(first, short, strict=True))


@pytest.mark.parametrize("name", CONFIGS)
def test_greedy_is_what_generate_does(name: str):
    asked, sampler = prompts(7), engine(name, max_batch=3)
    ours = responses(sampler.generate(asked, Sampling(max_new_tokens=20, temperature=0), seed=0))
    for prompt, response in zip(asked, ours, strict=True):
        ids = torch.tensor([prompt])
        theirs = sampler.model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20, eos_token_id=list(ENDS)
        )
        assert response == theirs[0, len(prompt) :].tolist()


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(max_new_tokens=2),
        Sampling(max_new_tokens=2, temperature=0.6),
        Sampling(max_new_tokens=2, top_k=7),
        Sampling(max_new_tokens=2, top_p=0.8, temperature=1.3),
    ],
    ids=["plain", "temperature", "top-k", "top-p"],
)
def test_responses_are_distributed_as_enumeration_says(sampling: Sampling):
    """Chi-square of 8,000 responses of two tokens against the exact distribution, rare ones pooled."""
    prompt, count, sampler = [3, 14, 15], 8_000, engine(max_batch=512)
    ids = torch.tensor([[*prompt, t] for t in range(VOCABULARY)])
    with torch.no_grad():
        logits = sampler.model(ids).logits
    first = _restrict(logits[:1, 2] / sampling.temperature, sampling).softmax(-1)[0]
    second = _restrict(logits[:, 3] / sampling.temperature, sampling).softmax(-1)
    exact: dict[tuple[int, ...], float] = {(end,): float(first[end]) for end in ENDS}
    exact |= {
        (a, b): float(first[a] * second[a, b])
        for a, b in itertools.product(range(VOCABULARY), repeat=2)
        if a not in ENDS
    }
    seen: dict[tuple[int, ...], int] = {}
    for response in responses(sampler.generate([prompt], sampling, samples=count, seed=11)):
        seen[tuple(response)] = seen.get(tuple(response), 0) + 1
    assert all(exact[response] > 0 for response in seen)
    common = [response for response, p in exact.items() if p * count >= 5]
    cells = [(seen.get(response, 0), exact[response] * count) for response in common]
    cells.append((count - sum(o for o, _ in cells), count - sum(e for _, e in cells)))
    statistic = sum((o - e) ** 2 / e for o, e in cells if e > 1)
    assert 1e-3 < chi2.sf(statistic, len(cells) - 1) < 0.999


def test_one_token_responses():
    generated = engine().generate(prompts(20), Sampling(max_new_tokens=1), seed=0)
    assert generated.response_ids_BT.shape == (20, 1)


def test_prompts_longer_than_the_running_rows_are_let_in():
    """Short prompts first, so that the cache has to grow to the left, and many tokens, so that it has to be shifted."""
    asked = [[3]] * 4 + prompts(20, longest=60, seed=1) + [[7]] * 4
    sampling = Sampling(max_new_tokens=60, temperature=0.9)
    few, many = (responses(engine("gemma3", max_batch=n).generate(asked, sampling, seed=2)) for n in (3, 64))
    assert few == many


def test_a_prompt_is_read_once_for_all_its_samples():
    sampler = engine(max_batch=4)
    assert sampler.generate([[3, 4, 5]], MANY, samples=40, seed=0).stats.prefills == 1
    assert sampler.generate([[3]], MANY, samples=40, seed=0).stats.prefills == 0  # a lone token needs no reading


def test_eos_ends_a_response_unless_it_is_ignored():
    asked, sampler = prompts(30), engine()
    ended = sampler.generate(asked, MANY, seed=0)
    assert 10 < int(ended.ended_B.sum()) < 30
    fixed = sampler.generate(asked, Sampling(max_new_tokens=24, temperature=0.9, ignore_eos=True), seed=0)
    assert fixed.response_len_B.tolist() == [24] * 30
    assert not fixed.ended_B.any()
    for short, whole in zip(responses(ended), responses(fixed), strict=True):
        assert whole[: len(short)] == short


@pytest.mark.parametrize("stop", [("K",), ("KA", "QQ", "Z")])
def test_a_stop_text_ends_a_response_with_the_token_that_completes_it(stop: tuple[str, ...]):
    asked, sampler = prompts(30), engine(max_batch=16)
    free = responses(sampler.generate(asked, Sampling(max_new_tokens=24, ignore_eos=True), seed=0))
    generated = sampler.generate(asked, Sampling(max_new_tokens=24, ignore_eos=True, stop=stop), seed=0)
    stopped = responses(generated)
    assert generated.ended_B.any()
    for whole, response, ended in zip(free, stopped, generated.ended_B.tolist(), strict=True):
        ends = [text(whole).find(s) + len(s) for s in stop if s in text(whole)]
        assert response == whole[: min(ends, default=24)]
        assert ended == bool(ends)


def test_the_model_is_left_as_it_was():
    sampler = engine()
    sampler.model.train()
    sampler.model.model.layers[1].eval()
    before = [module.training for module in sampler.model.modules()]
    generated = sampler.generate(prompts(3), MANY, seed=0)
    assert [module.training for module in sampler.model.modules()] == before
    assert not generated.logp_BT.is_inference()
    sampler.model(torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, 2, 3]])).loss.backward()


def test_progress_counts_finished_responses():
    told: list[tuple[int, int]] = []
    engine(max_batch=4).generate(prompts(5), MANY, samples=4, seed=0, on_progress=lambda *x: told.append(x))
    assert told[-1] == (20, 20)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


@pytest.mark.parametrize(
    ("asked", "options", "message"),
    [
        ([], {}, "no prompt"),
        ([[3], []], {}, "prompt 1 is empty"),
        ([[3], [3, VOCABULARY]], {}, f"prompt 1 holds token id {VOCABULARY}.*0..{VOCABULARY - 1}"),
        ([[-1]], {}, "prompt 0 holds token id -1"),
        ([[3]], {"samples": 0}, "samples must be >= 1, got 0"),
        ([[3]], {"seed": -1}, "seed must be >= 0, got -1"),
        ([[3]], {"keys": [1, 2]}, "1 prompts, 2 keys"),
        ([[3]], {"keys": [-2]}, "keys must be >= 0, got -2"),
        ([[3], [3] * (CONTEXT - 23)], {}, f"prompt 1 has {CONTEXT - 23} tokens.*24.*{CONTEXT}.*shorten"),
    ],
)
def test_what_cannot_be_sampled_is_refused(asked: list[list[int]], options: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        engine().generate(asked, MANY, **({"seed": 0} | options))


def test_a_prompt_may_fill_the_context():
    generated = engine("gpt2").generate([[3] * (CONTEXT - 24)], MANY, samples=9, seed=0)
    assert int(generated.response_len_B.max()) == 24


def test_stop_texts_need_decode():
    sampler = Engine(tiny("llama"), eos_ids=ENDS)
    with pytest.raises(ValueError, match="decode"):
        sampler.generate([[3]], Sampling(stop=(".",)), seed=0)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_are_reported(temperature: float):
    sampler = engine()
    with torch.no_grad():
        sampler.model.lm_head.weight[7] = torch.nan
    with pytest.raises(FloatingPointError, match=r"prompt 0 \(sample 0\) at response position 0"):
        sampler.generate([[3]], Sampling(temperature=temperature), seed=0)


def test_wrong_models_are_refused():
    with pytest.raises(ValueError, match="max_batch must be >= 1, got 0"):
        engine(max_batch=0)


@pytest.mark.data
def test_a_real_model_tells_a_story(data_dir):
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    folder = data_dir / "models" / "stories260K"
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    sampler = Engine(AutoModelForCausalLM.from_pretrained(folder), eos_ids=[1], decode=tokenizer.decode)
    prompt = [1, *tokenizer.encode("Once upon a time", add_special_tokens=False)]
    generated = sampler.generate([prompt], Sampling(max_new_tokens=80, temperature=0.7, stop=(".",)), samples=8, seed=0)
    sentences = [tokenizer.decode(ids) for ids in responses(generated)]
    print(*sentences, sep="\n")
    assert all(s.count(".") == 1 for s, ended in zip(sentences, generated.ended_B.tolist(), strict=True) if ended)
    assert sum("there was" in s for s in sentences) >= 4


@pytest.mark.parametrize("name", CONFIGS)
def test_who_is_decoded_without_the_house_around_it(name: str) -> None:
    family = name in ("llama", "qwen2", "qwen3", "mistral")
    assert is_plain(tiny(name, torch.float32)) == family
    assert is_plain(tiny(name, torch.bfloat16)) == family
    assert not is_plain(tiny(name, torch.float64))


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "mistral"])
def test_in_16_bits_the_short_way_is_as_near_to_the_truth(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the model's own forward, in float64 with the same weights; prompts of unlike lengths, and a short window."""
    model = rounded(name)
    truth = copy.deepcopy(model)
    for parameter in truth.parameters():
        parameter.data = parameter.data.double()
    off = {}
    for way in (Plain, Whole):
        monkeypatch.setattr(slots, "decoder", way)
        asked = prompts(12)
        made = Engine(model, eos_ids=ENDS, max_batch=5).generate(asked, MANY, samples=2, seed=4)
        gaps = [
            full_logp(truth, asked[row // 2], response, 0.9) - made.logp_BT[row, : len(response)]
            for row, response in enumerate(responses(made))
        ]
        off[way] = float(torch.cat(gaps).square().mean().sqrt())
    assert 1e-4 < off[Plain] < 1.3 * off[Whole]


def rounded(name: str) -> PreTrainedModel:
    """Weights of 16 bits; what is no weight stays as it is."""
    model = tiny(name, torch.float32)
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16()
    return model


def test_what_was_put_in_place_of_a_part_is_not_passed_by() -> None:
    model = tiny("llama", torch.float32)
    model.base_model.layers[1].mlp.down_proj = torch.nn.Sequential(model.base_model.layers[1].mlp.down_proj)
    assert not is_plain(model)
    model = tiny("llama", torch.float32)
    model.base_model.layers[0].register_forward_hook(lambda *_: None)
    assert not is_plain(model)
