"""Every value of a preset, and a step of PPO-ptx from end to end."""

import math
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import pytest
import torch

from tercih.algorithms.bradley_terry import BradleyTerry
from tercih.algorithms.dapo import DAPO
from tercih.algorithms.dr_grpo import DrGRPO
from tercih.algorithms.grpo import GRPO
from tercih.algorithms.gspo import GSPO
from tercih.algorithms.plackett_luce import PlackettLuce
from tercih.algorithms.ppo import PPO
from tercih.algorithms.rloo import RLOO
from tercih.batches import Batch
from tercih.data import collate
from tercih.data.tokenize import Tokenizer
from tercih.forward import Models
from tercih.models.language_model import LanguageModel, Reference
from tercih.models.load import load_causal, load_policy
from tercih.models.reward_model import RewardModel
from tercih.optimisation import Optimisation, TFAdam
from tercih.recipes.preset import PPOPreset
from tercih.recipes.presets import PRESETS, preset
from tercih.recipes.scratch import ScratchModel, make_model, windows
from tercih.recipes.stages import PolicySettings
from tercih.records import Comparison, Ranking, Text
from tercih.rewards import Combiner, FunctionReward
from tercih.rollout.sampler import Rollouts
from tercih.rollout.sampling import Sampling
from tercih.train import fit

TEXTS = ["The film was good. I liked it.", "The film was bad. I left.", "A quiet film about a dog."] * 4
OF_PPO = {name: paper for name, paper in PRESETS.items() if isinstance(paper, PPOPreset)}
SIZE = ScratchModel(vocabulary=300, hidden=16, layers=1, heads=2, context=64)


def test_ziegler2019() -> None:
    paper = OF_PPO["ziegler2019"]
    assert paper.sampling == Sampling(max_new_tokens=24, temperature=0.7, top_k=0, top_p=1.0, ignore_eos=True)
    assert paper.policy == PolicySettings(
        steps=1953,
        prompts_per_step=512,
        samples=1,
        method=PPO(
            kl_coef=0.15, kl_target=6.0, kl_horizon=10_000, clip=0.2, value_clip=0.2, value_coef=0.1, entropy_coef=0.0,
            gamma=1.0, lam=0.95, epochs=4, minibatches=1, whiten_rewards=True, whiten_advantages=True,
        ),
        optimisation=Optimisation(lr=1e-5, schedule="linear", optimiser="tf_adam", eps=1e-5, max_norm=None),
        value="shared",
        ignore_eos=True,
        truncate_at=".",
        truncate_after=16,
        missing_score=-1.0,
        missing_end_penalty=0.0,
    )  # fmt: skip
    assert paper.reward.method == PlackettLuce(places=1)
    assert paper.reward.collate is collate.rankings
    assert (paper.reward.records_per_step, paper.reward.epochs, paper.reward.normalise_samples) == (32, 1, 256)
    assert paper.reward.optimisation == Optimisation(lr=5e-5, optimiser="tf_adam", eps=1e-5, max_norm=None)
    assert "before and after" in paper.reward.normalise
    assert paper.unverified == ()


def test_stiennon2020() -> None:
    paper = OF_PPO["stiennon2020"]
    method, optimisation = paper.policy.method, paper.policy.optimisation
    assert method == PPO(kl_coef=0.05, kl_target=None, value_coef=0.1, lam=0.95, epochs=4, minibatches=1)
    assert optimisation == Optimisation(lr=1.5e-5, schedule="linear", eps=1e-5, max_norm=None)
    assert (paper.policy.value, paper.policy.missing_end_penalty) == ("separate", 1.0)
    assert (paper.policy.steps, paper.policy.prompts_per_step) == (1953, 512)
    assert paper.sampling == Sampling(max_new_tokens=53, temperature=0.7)
    assert (paper.reward.method, paper.reward.collate) == (BradleyTerry(), collate.pairs)
    assert (paper.reward.records_per_step, paper.reward.epochs, paper.reward.optimisation.lr) == (64, 1, 1.5e-5)


def test_instructgpt() -> None:
    paper = OF_PPO["instructgpt"]
    assert paper.policy.method == PPO(kl_coef=0.02, kl_target=None, epochs=1, minibatches=8, pretraining_coef=27.8)
    assert paper.policy.optimisation == Optimisation(lr=9.65e-6, schedule="constant", warmup=0.02, betas=(0.9, 0.95))
    assert (paper.policy.steps, paper.policy.prompts_per_step, paper.policy.value) == (500, 512, "separate")
    assert paper.sampling == Sampling(max_new_tokens=1024, temperature=1.0)
    assert (paper.reward.method, paper.reward.collate) == (BradleyTerry(), collate.all_pairs)
    assert (paper.reward.records_per_step, paper.reward.epochs, paper.reward.optimisation.lr) == (64, 1, 9e-6)
    assert paper.unverified == ("policy.method.lam", "policy.optimisation.lr"), "the paper prints neither"


@pytest.mark.parametrize("paper", PRESETS.values(), ids=PRESETS)
def test_presets_agree_with_themselves(paper: object) -> None:
    for name in paper.unverified:  # type: ignore[attr-defined]
        attrgetter(name)(paper)  # names a value that is there
    assert paper.policy.ignore_eos == paper.sampling.ignore_eos  # type: ignore[attr-defined]


def test_methods_that_compare() -> None:
    found = {name: paper.policy for name, paper in PRESETS.items() if name not in OF_PPO}
    methods = [RLOO(kl_coef=0.03), GRPO(), DrGRPO(constant_length=3000, minibatches=8), DAPO(), GSPO()]
    assert [policy.method for policy in found.values()] == methods, "the defaults, but for Dr. GRPO's, are the papers'"
    sizes = {name: (policy.prompts_per_step, policy.samples) for name, policy in found.items()}
    assert sizes == {
        "ahmadian2024": (256, 2), "shao2024": (16, 64), "liu2025": (128, 8), "yu2025": (512, 16), "zheng2025": (128, 8),
    }  # fmt: skip
    assert {policy.optimisation.lr for policy in found.values()} == {1e-6}
    assert found["ahmadian2024"].optimisation.warmup == 0.03
    dapo = PRESETS["yu2025"]
    assert (dapo.sampling.max_new_tokens, dapo.overlong_buffer, dapo.policy.optimisation.weight_decay) == (
        20480,
        4096,
        0.1,
    )
    assert PRESETS["liu2025"].sampling == Sampling(max_new_tokens=3000)


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no preset 'openai'; there are ziegler2019, stiennon2020, instructgpt"):
        preset("openai")


def test_no_clipping_leaves_the_gradient_alone() -> None:
    optimisation = preset("ziegler2019").policy.optimisation
    weight = torch.nn.Parameter(torch.zeros(3))
    weight.grad = torch.tensor([3e4, 4e4, 0.0])
    assert optimisation.clip([weight]) == pytest.approx(5e4)
    assert weight.grad.tolist() == [3e4, 4e4, 0.0]
    assert replace(optimisation, max_norm=1.0).clip([weight]) == pytest.approx(5e4)
    assert weight.grad.tolist() == pytest.approx([0.6, 0.8, 0.0])
    assert isinstance(optimisation.build([weight]), TFAdam)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_model(tmp_path / "model", TEXTS, SIZE, seed=0, temperature=0.7)
    return tmp_path / "model"


@pytest.mark.recipe
@pytest.mark.parametrize("name", PRESETS)
def test_a_step_of_each_preset_runs(folder: Path, name: str) -> None:
    """With fewer and shorter responses; PPO-ptx with text of its own, whose share of the loss is felt."""
    paper = preset(name)
    method = paper.policy.method
    policy = load_policy(folder, value=paper.policy.value if method.needs_values else None)
    policy.temperature = paper.sampling.temperature
    tokenizer = Tokenizer.load(folder)
    text = Batch(tokens=collate.collate(windows(TEXTS, tokenizer, length=8, most=1)))
    rollouts = Rollouts(
        policy=policy,
        tokenizer=tokenizer,
        prompts=[Text(prompt=f"film {i}", completion="") for i in range(16)],
        reward=Combiner(
            sources=[FunctionReward(lambda prompt, completion: float(len(completion)), "length")],
            missing_end_penalty=paper.policy.missing_end_penalty,
        ),
        sampling=replace(paper.sampling, max_new_tokens=6),
        steps=2,
        prompts_per_step=16,
        samples=min(paper.policy.samples, 4),
        pretraining=(lambda step: text) if name == "instructgpt" else None,
    )
    models = Models(policy=policy, reference=Reference(policy))
    before = {name: p.clone() for name, p in policy.named_parameters()}
    metrics = fit(method, models, rollouts, paper.policy.optimisation)
    assert math.isfinite(metrics["loss"])
    assert ("pretraining_nats_per_token" in metrics) == (name == "instructgpt")
    if paper.sampling.ignore_eos:
        assert metrics["response_length"] == 6
    if name == "instructgpt":
        assert metrics["loss"] > 27.8  # about γ times ln 300
    assert all(not torch.equal(p, before[name]) for name, p in policy.named_parameters())


@pytest.mark.recipe
@pytest.mark.parametrize("name", OF_PPO)
def test_a_step_of_each_reward_model_runs(folder: Path, name: str) -> None:
    recipe = OF_PPO[name].reward
    tokenizer = Tokenizer.load(folder)
    items = tuple(Text(prompt="The film", completion=f" was good {i}.") for i in range(4))
    rankings = [Ranking(items=items, order=(2, 0, 3, 1), rater="r")]
    pairs = [Comparison(a=items[0], b=items[1], answer="a", rater="r")]
    batch = recipe.collate(pairs if recipe.collate is collate.pairs else rankings, tokenizer, 64)
    model = RewardModel(load_causal(folder), readout=recipe.readout)
    loss = recipe.method.loss(model, batch)
    assert all(torch.isfinite(term.sum) for term in loss.terms.values())


def test_policy_samples_and_scores_at_the_papers_temperature(folder: Path) -> None:
    assert load_policy(folder).temperature == preset("ziegler2019").sampling.temperature
    assert isinstance(load_policy(folder), LanguageModel)
