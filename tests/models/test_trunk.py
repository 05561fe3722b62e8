"""What is read, how often, and that nothing leaks from one row into another."""

from itertools import pairwise, product
from typing import Any

import pytest
import torch

from small import CONFIGS, causal, random_tokens, tokens
from tercih.models import attention, stream, trunk
from tercih.models.language_model import LanguageModel
from tercih.models.layout import alike
from tercih.models.load import LoRA, add_lora


@pytest.fixture(autouse=True)
def cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trunk, "PASS", {"cpu": 0})
    monkeypatch.setattr(stream, "SEGMENT", {"cpu": 0})


def fed(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of what goes into the trunk from now on."""
    shapes: list[tuple[int, ...]] = []
    plain = type(model.causal.base_model).forward

    def forward(self: Any, input_ids: torch.Tensor, **further: Any) -> Any:
        shapes.append(tuple(input_ids.shape))
        return plain(self, input_ids=input_ids, **further)

    forward.__signature__ = __import__("inspect").signature(plain)  # type: ignore[attr-defined]
    monkeypatch.setattr(type(model.causal.base_model), "forward", forward)
    return shapes


def test_a_prompt_is_read_once_for_all_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LanguageModel(causal())
    shapes = fed(model, monkeypatch)
    model(tokens([[4] * 9], [[5, 6, 7], [8, 9, 10], [11, 12]], [0, 0, 0]))
    # the last token of an answer predicts nothing and is not read
    assert shapes == [(1, 9 + 2 + 2 + 1)]


def test_what_saves_nothing_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LanguageModel(causal())
    shapes = fed(model, monkeypatch)
    model(tokens([[4] * 3, [4] * 5], [[5, 6, 7], [8, 9, 10]], [0, 1]))
    assert shapes == [(1, 5 + 7)]


@pytest.mark.parametrize("kind", CONFIGS)
def test_who_takes_streams(kind: str) -> None:
    assert trunk.takes_streams(causal(kind).base_model) == (kind in ("llama", "llama_tied", "gpt2", "qwen2"))


def test_others_are_read_in_passes_of_like_length(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LanguageModel(causal("gemma2"))
    shapes = fed(model, monkeypatch)
    model(tokens([[4] * 9], [[5, 6, 7], [8, 9, 10], [11, 12]], [0, 0, 0]))
    assert sorted(shapes) == [(1, 10), (2, 11)]


def test_layers_may_be_computed_again_in_the_backward_pass() -> None:
    made, plain, recomputed = (
        random_tokens([3, 2], longest=9),
        LanguageModel(causal("gpt2")),
        LanguageModel(causal("gpt2")).train(),
    )
    recomputed.causal.gradient_checkpointing_enable()
    for model in (plain, recomputed):
        model(made).logp_BT.sum().backward()
    for ours, theirs in zip(recomputed.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-12)


def test_a_model_that_has_read_a_stream_is_otherwise_as_it_was() -> None:
    model, ids = causal(), torch.tensor([[3, 4, 5, 6], [7, 8, 9, 9]])
    mask = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])
    before = model(ids, attention_mask=mask).logits
    LanguageModel(model)(random_tokens([3, 2]))
    torch.testing.assert_close(model(ids, attention_mask=mask).logits, before)
    assert "attn_implementation" not in model.config.to_json_string()


def test_what_streams_do_not_know_is_refused() -> None:
    model = causal()
    with pytest.raises(NotImplementedError, match="LlamaAttention attends with softcap, which streams do not know"):
        attention.attend(
            model.model.layers[0].self_attn, *[torch.zeros(1, 2, 3, 8)] * 3, None, stream=made_stream(), softcap=1.0
        )


def test_of_the_last_layer_only_what_is_wanted_is_attended(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = LanguageModel(causal()), []
    plain = attention._causal

    def counted(query: torch.Tensor, *further: Any) -> torch.Tensor:
        asked.append(tuple(query.shape[:3]))
        return plain(query, *further)

    monkeypatch.setattr(attention, "_causal", counted)
    model(tokens([[4] * 9], [[5, 6, 7], [8, 9, 10]], [0, 0], learn=[[False, True, True]] * 2))
    # one prompt, then two answers of which two tokens are read; in the second layer only what predicts is asked
    assert asked == [(1, 2, 9), (2, 2, 2), (1, 2, 0), (2, 2, 2)]
    asked.clear()
    model(tokens([[4] * 9], [[5, 6, 7], [8, 9, 10]], [0, 0]))
    assert asked == [(1, 2, 9), (2, 2, 2), (1, 2, 1), (2, 2, 2)]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_last_mlp_sees_only_what_is_wanted(kind: str) -> None:
    model, seen = LanguageModel(causal(kind)), []
    base = model.causal.base_model
    within = base.layers[-1].mlp.gate_proj if kind == "llama" else base.h[-1].mlp.c_fc
    within.register_forward_hook(lambda _, __, said: seen.append(said.shape[1]))
    made = tokens([[4] * 9], [[5, 6, 7], [8, 9, 10]], [0, 0])
    model(made)
    assert seen == [5]  # the prompt's last token, and two of each answer
    model.causal(torch.tensor([[3, 4, 5]]))
    assert seen == [5, 3]  # the model is as it was


def made_stream() -> stream.Stream:
    made = random_tokens([1])
    return stream.stream(made, [0], made.lengths_B.tolist(), torch.float64)


def test_an_adapter_learns_through_a_shared_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    made, found = random_tokens([3, 2], longest=9), []
    for extra in (0, 10**6):
        monkeypatch.setattr(stream, "SEGMENT", {"cpu": extra})
        torch.manual_seed(0)
        model = LanguageModel(causal("gpt2"))
        add_lora(model, LoRA(rank=2))
        model(made).logp_BT.sum().backward()
        found.append([p.grad for p in model.parameters() if p.grad is not None])
    assert found[0]
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_row_does_not_feel_what_it_is_read_with(kind: str) -> None:
    """The gradient of one row's log-probabilities in the embeddings of tokens that only other rows have is 0."""
    model = LanguageModel(causal(kind))
    made = tokens([[3, 4, 5], [6, 7, 8, 9]], [[10, 11], [12, 13, 14], [15], [16, 17]], [0, 0, 1, 1])
    outputs = model(made)
    embedding = model.causal.get_input_embeddings().weight
    own = {0: {3, 4, 5, 10}, 1: {3, 4, 5, 12, 13}, 2: {6, 7, 8, 9}, 3: {6, 7, 8, 9, 16}}  # the last one is not read
    tied = model.causal.get_output_embeddings().weight is embedding
    for row, read in own.items():
        (hidden,) = torch.autograd.grad(outputs.logp_BT[row].sum(), embedding, retain_graph=True, allow_unused=True)
        touched = set((hidden.abs().sum(1) > 0).nonzero().squeeze(1).tolist())
        assert touched == (set(range(len(embedding))) if tied else read)


def test_nothing_learned_is_nothing_read() -> None:
    made = tokens([[4, 5]], [[6, 7], [8, 9]], [0, 0], learn=[[False, False], [False, False]])
    logp_BT = LanguageModel(causal())(made).logp_BT
    assert not logp_BT.any()
    logp_BT.sum().backward()


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_cut_as_well_as_can_be(seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 9, (7,), generator=draws).tolist()
    extra = int(torch.randint(0, 6, (1,), generator=draws))
    groups = list(alike(lengths, extra))
    assert sorted(row for rows, _ in groups for row in rows) == [row for row, length in enumerate(lengths) if length]
    assert all(longest == max(lengths[row] for row in rows) for rows, longest in groups)
    real = sorted((length for length in lengths if length), reverse=True)

    def cost(ends: tuple[bool, ...]) -> int:
        edges = [0, *(i + 1 for i, end in enumerate(ends) if end), len(real)]
        return sum((b - a) * real[a] + extra for a, b in pairwise(edges))

    best = min((cost(ends) for ends in product((False, True), repeat=max(len(real) - 1, 0))), default=0)
    assert sum(len(rows) * longest + extra for rows, longest in groups) == (best if real else 0)


def test_many_lengths_are_cut_quickly_and_completely() -> None:
    lengths = list(range(1, 3000))
    groups = list(alike(lengths, 10))
    assert sorted(row for rows, _ in groups for row in rows) == list(range(2999))
    assert sum(len(rows) * longest for rows, longest in groups) < 1.1 * sum(lengths)
