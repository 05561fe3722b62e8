import math

import pytest
import torch
from torch import Tensor

from small import CONFIGS, VOCABULARY, causal, gradients, random_tokens, tokens
from tercih.forward import Want
from tercih.models import logits, stream, trunk
from tercih.models.language_model import LanguageModel, Reference, context_length, frozen_copy
from tercih.models.load import LoRA, add_lora
from tercih.tokens import Tokens

ALL = Want(entropy=True, value=True)


@pytest.fixture(autouse=True, params=[64, 0], ids=["together", "cut"])
def extra(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything once more with as many passes as there are lengths, and every prompt read once."""
    monkeypatch.setattr(trunk, "PASS", {"cpu": request.param})
    monkeypatch.setattr(stream, "SEGMENT", {"cpu": request.param})


def plain(model: object, tokens: Tokens, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy by one unpadded forward of the Hugging Face model per row."""
    logp_BT, entropy_BT = torch.zeros(2, *tokens.response_ids_BT.shape, dtype=torch.float64)
    for b in range(tokens.rows):
        p, length = int(tokens.prompt_of_B[b]), int(tokens.response_len_B[b])
        prompt = tokens.prompt_ids_PS[p, : tokens.prompt_len_P[p]]
        response = tokens.response_ids_BT[b, :length]
        with torch.no_grad():
            found = model(input_ids=torch.cat([prompt, response])[None]).logits[0]  # type: ignore[operator]
        distribution = torch.distributions.Categorical(logits=found[len(prompt) - 1 : -1] / temperature)
        logp_BT[b, :length], entropy_BT[b, :length] = distribution.log_prob(response), distribution.entropy()
    return torch.where(tokens.loss_mask_BT, logp_BT, 0.0), torch.where(tokens.loss_mask_BT, entropy_BT, 0.0)


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_and_entropies_are_the_plain_models(kind: str, temperature: float) -> None:
    made = random_tokens([2, 1, 3], holes=True)
    outputs = LanguageModel(causal(kind), temperature=temperature)(made, Want(entropy=True))
    logp_BT, entropy_BT = plain(causal(kind).eval(), made, temperature)
    torch.testing.assert_close(outputs.logp_BT.detach(), logp_BT, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(outputs.entropy_BT.detach(), entropy_BT, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.3)])
def test_other_precisions_are_close_and_never_narrower_than_float32(dtype: torch.dtype, tolerance: float) -> None:
    made, exact = random_tokens([2, 1, 3]), causal()
    logp_BT = LanguageModel(causal().to(dtype))(made).logp_BT
    assert logp_BT.dtype == torch.float32
    torch.testing.assert_close(logp_BT.double(), LanguageModel(exact)(made).logp_BT, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3"])
def test_a_row_does_not_feel_its_batch_or_its_padding(kind: str) -> None:
    model = LanguageModel(causal(kind), value="shared")
    torch.nn.init.normal_(model.value_head.weight)
    made = random_tokens([2, 1, 3], longest=9)
    whole = model(made, ALL)
    for p in range(3):
        alone = made.take(torch.tensor([p]))
        rows, T = (made.prompt_of_B == p), alone.response_ids_BT.shape[1]
        outputs = model(alone, ALL)
        for name in ("logp_BT", "entropy_BT", "value_BT"):
            expected = getattr(whole, name)[rows][:, :T]
            torch.testing.assert_close(getattr(outputs, name), expected, rtol=1e-11, atol=1e-11)


def test_a_shared_prompt_is_the_same_as_its_copies() -> None:
    model = LanguageModel(causal())
    shared = tokens([[4, 5], [6]], [[7, 8], [9], [10, 11, 12]], [0, 0, 1])
    copies = tokens([[4, 5], [4, 5], [6]], [[7, 8], [9], [10, 11, 12]], [0, 1, 2])
    torch.testing.assert_close(model(shared).logp_BT, model(copies).logp_BT, rtol=1e-12, atol=1e-12)


def test_nothing_is_said_outside_the_mask() -> None:
    model = LanguageModel(causal(), value="shared")
    torch.nn.init.ones_(model.value_head.bias)
    made = random_tokens([2, 2], holes=True)
    outputs = model(made, ALL)
    for x_BT in (outputs.logp_BT, outputs.entropy_BT, outputs.value_BT):
        assert (x_BT[~made.loss_mask_BT] == 0).all()
        assert (x_BT[made.loss_mask_BT] != 0).all()


def test_only_what_is_wanted_is_given() -> None:
    model, made = LanguageModel(causal(), value="shared"), random_tokens([1])
    outputs = model(made)
    assert outputs.entropy_BT is None
    assert outputs.value_BT is None
    outputs = model(made, Want(logp=False, value=True))
    assert outputs.logp_BT is None
    assert outputs.value_BT.shape == made.response_ids_BT.shape


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
@pytest.mark.parametrize("positions", [1, 3, 7])
def test_chunks_change_neither_numbers_nor_gradients(
    kind: str, positions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = random_tokens([2, 1, 3])
    weight_BT = torch.randn(made.loss_mask_BT.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def run() -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        model = LanguageModel(causal(kind), temperature=0.8)
        outputs = model(made, Want(entropy=True))
        (weight_BT * outputs.logp_BT + weight_BT.flip(0) * outputs.entropy_BT).sum().backward()
        return outputs.logp_BT.detach(), outputs.entropy_BT.detach(), gradients(model)

    whole = run()
    monkeypatch.setattr(logits, "CHUNK", positions * VOCABULARY)
    monkeypatch.setattr(logits, "KEPT", 0)
    parts = run()
    torch.testing.assert_close(parts, whole, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("kind", "tolerance"), [("gpt2", 1e-10), ("llama", 1e-5)])  # which norms in single precision
def test_gradients_are_the_plain_models(kind: str, tolerance: float) -> None:
    made, ours, theirs = random_tokens([2, 1, 4]), LanguageModel(causal(kind)), causal(kind).eval()
    ours(made).logp_BT.sum().backward()
    total = torch.zeros((), dtype=torch.float64)
    for b in range(made.rows):
        p, length = int(made.prompt_of_B[b]), int(made.response_len_B[b])
        ids = torch.cat([made.prompt_ids_PS[p, : made.prompt_len_P[p]], made.response_ids_BT[b, :length]])
        found = theirs(input_ids=ids[None]).logits[0, :-1].log_softmax(-1).gather(1, ids[1:, None])
        total = total + found[-length:].sum()
    total.backward()
    expected = {f"causal.{name}": gradient for name, gradient in gradients(theirs).items()}
    torch.testing.assert_close(gradients(ours), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("value", ["shared", "separate"])
def test_values_start_at_zero_and_learn(value: str) -> None:
    model, made = LanguageModel(causal(), value=value), random_tokens([2, 1])
    assert (model(made, ALL).value_BT == 0).all()
    torch.nn.init.ones_(model.value_head.weight)
    model(made, Want(logp=False, value=True)).value_BT.sum().backward()
    touched = {name.split(".")[0] for name in gradients(model)}
    assert touched == ({"causal", "value_head"} if value == "shared" else {"value_trunk", "value_head"})
    if value == "separate":
        own = {id(p) for p in model.causal.parameters()}
        assert not own & {id(p) for p in model.value_trunk.parameters()}


def test_values_need_a_head() -> None:
    with pytest.raises(ValueError, match=r"build the policy with value='shared' or value='separate'"):
        LanguageModel(causal())(random_tokens([1]), ALL)


@pytest.mark.parametrize("temperature", [0, -1, math.nan])
def test_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match=r"temperature must be > 0, got"):
        LanguageModel(causal(), temperature=temperature)


def test_value_must_be_a_kind_of_value_head() -> None:
    with pytest.raises(ValueError, match=r"value must be None, 'shared' or 'separate', got 'both'"):
        LanguageModel(causal(), value="both")


def test_dropout_is_off_even_while_training() -> None:
    config = CONFIGS["gpt2"]
    noisy = type(config)(**{**config.to_dict(), "resid_pdrop": 0.5, "embd_pdrop": 0.5, "attn_pdrop": 0.5})
    from tercih.models.load import from_config

    model, made = LanguageModel(from_config(noisy, seed=0), value="separate").train(), random_tokens([2])
    torch.nn.init.ones_(model.value_head.weight)
    first, second = model(made, ALL), model(made, ALL)
    assert torch.equal(first.logp_BT, second.logp_BT)
    assert torch.equal(first.value_BT, second.value_BT)
    llama = type(CONFIGS["llama"])(**{**CONFIGS["llama"].to_dict(), "attention_dropout": 0.5})
    model = LanguageModel(from_config(llama, seed=0)).train()
    assert torch.equal(model(made).logp_BT, model(made).logp_BT)


def test_a_frozen_reference_stays_where_it_was() -> None:
    model, made = LanguageModel(causal(), temperature=0.6, value="shared"), random_tokens([2, 1])
    before = model(made).logp_BT.detach()
    reference = Reference(model)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.05
    after = reference(made)
    assert torch.equal(after, before)
    assert not torch.equal(model(made).logp_BT, before)
    assert not after.requires_grad
    assert frozen_copy(model).value_head is None
    assert not any(p.requires_grad for p in frozen_copy(model).parameters())


def test_a_reference_by_adapter_is_the_base_bit_for_bit() -> None:
    made, base = random_tokens([2, 1]), LanguageModel(causal(dtype=torch.float32))
    before = base(made).logp_BT.detach()
    model = LanguageModel(causal(dtype=torch.float32), value="shared")
    add_lora(model, LoRA(rank=2))
    assert torch.equal(model(made).logp_BT, before), "an adapter starts as the identity"
    reference = Reference(model)
    assert reference.frozen is None
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    for _ in range(3):
        optimiser.zero_grad()
        (-model(made).logp_BT.sum()).backward()
        optimiser.step()
    assert not torch.allclose(model(made).logp_BT, before, atol=1e-3)
    assert torch.equal(reference(made), before)
    assert not torch.allclose(model(made).logp_BT, before, atol=1e-3), "and afterwards the adapter is on again"


def test_context_length_has_two_names_and_no_guess() -> None:
    assert context_length(CONFIGS["llama"]) == context_length(CONFIGS["gpt2"]) == 64
    assert LanguageModel(causal()).context == 64

    class Bare:
        model_type = "bare"

    with pytest.raises(ValueError, match=r"the configuration of bare names no context length"):
        context_length(Bare())


@pytest.mark.parametrize(("kind", "temperature"), [("gpt2", 1.0), ("gemma2", 0.7)])
@pytest.mark.parametrize("to", [True, False])
def test_divergences_are_over_the_whole_vocabulary(
    kind: str, temperature: float, to: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the plain logits give them, with their gradient, also in chunks; between two states of a model none."""
    made = random_tokens([2, 1, 3], holes=True)
    policy = LanguageModel(causal(kind), temperature=temperature)
    other = LanguageModel(causal(kind, seed=1), temperature=temperature)

    def ask(against: Reference) -> Tensor:
        asked = against.against(made)
        kl_BT = policy(made, Want(logp=False, kl_to=asked) if to else Want(logp=False, kl_from=asked)).kl_BT
        assert kl_BT is not None
        return kl_BT

    def plainly() -> Tensor:
        row_B = torch.arange(made.rows)
        total = torch.zeros((), dtype=torch.float64)
        for row in row_B.tolist():
            prompt = made.prompt_of_B[row]
            start, length = int(made.prompt_len_P[prompt]), int(made.response_len_B[row])
            ids = torch.cat([made.prompt_ids_PS[prompt, :start], made.response_ids_BT[row, :length]])[None]
            logp_LV, base_LV = (
                (model.causal(ids).logits[0, start - 1 : -1].double() / temperature).log_softmax(-1)
                for model in (policy, other)
            )
            base_LV = base_LV.detach()
            first, second = (logp_LV, base_LV) if to else (base_LV, logp_LV)
            kl_L = (first.exp() * (first - second)).sum(-1)
            total = total + kl_L[made.loss_mask_BT[row, :length]].sum()
        return total

    monkeypatch.setattr(logits, "CHUNK", 3 * VOCABULARY)
    monkeypatch.setattr(logits, "KEPT", 0 if kind == "gpt2" else 2**24)
    found, expected = ask(Reference(other)).sum(), plainly()
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-9)
    found.backward()  # type: ignore[no-untyped-call]
    by_chunks = gradients(policy)
    policy.zero_grad()
    expected.backward()  # type: ignore[no-untyped-call]
    for name, gradient in gradients(policy).items():
        assert torch.allclose(by_chunks[name], gradient, atol=1e-9), name
    assert float(ask(Reference(policy)).detach().abs().max()) < 1e-12


def test_a_reference_by_adapter_is_compared_without_it() -> None:
    made, model = random_tokens([2, 1]), LanguageModel(causal())
    frozen = Reference(model)
    add_lora(model, LoRA(rank=2))
    adapted = Reference(model)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight += 0.1
    found, expected = (model(made, Want(kl_to=each.against(made))).kl_BT for each in (adapted, frozen))
    assert float(found.sum()) > 0.01
    assert torch.allclose(found, expected, atol=1e-9)
