"""Our side of every benchmark: what `tercih train` would do, with a pause after every step.

Texts are tokenised before the first step, as the peers do; everything else is in the step.
"""

import random
from collections.abc import Callable, Mapping
from typing import Any

import torch
from harness.turns import Turns, read_case, turns_on

from tercih.agents.experience import Collector
from tercih.agents.ppo import PPO as AgentPPO
from tercih.algorithms import METHODS
from tercih.data.collate import demonstrations, pairs
from tercih.data.offline import Offline
from tercih.data.tokenize import Tokenizer
from tercih.environments.worlds import Worlds
from tercih.forward import Models
from tercih.method import Method
from tercih.models.control import ActorCritic
from tercih.models.language_model import Reference
from tercih.models.load import load_causal, load_policy
from tercih.models.reward_model import RewardModel
from tercih.optimisation import Optimisation
from tercih.records import Comparison, Demonstration, Text
from tercih.rewards import Combiner, FunctionReward
from tercih.rollout.engine import Engine
from tercih.rollout.sampler import Rollouts
from tercih.rollout.sampling import Sampling
from tercih.train import fit

Case = Mapping[str, Any]
STEPS = 100_000  # more than anybody waits for


def items(tokenizer: Tokenizer, prompt: str, *completions: str) -> list[Text]:
    """Texts with the token ids that stand for them."""
    found = []
    for completion in completions:
        row = tokenizer.encode(Text(prompt=prompt, completion=completion))
        found.append(
            Text(
                prompt=prompt, completion=completion, prompt_ids=row.prompt, completion_ids=row.response,
                tokenizer=tokenizer.fingerprint,
            )
        )  # fmt: skip
    return found


def imitate(case: Case, turns: Turns) -> None:
    policy, tokenizer = load_policy(case["model"], device=case["device"]), Tokenizer.load(case["model"])
    records = [Demonstration(item=items(tokenizer, r["prompt"], r["completion"])[0]) for r in case["rows"]]
    data = Offline(
        records=records, collate=lambda r: demonstrations(r, tokenizer, policy.context), size=len(records), epochs=STEPS
    )
    train(METHODS["sft"](), Models(policy=policy), data, case, turns)


def compare(case: Case, turns: Turns) -> None:
    """DPO or a reward model."""
    tokenizer = Tokenizer.load(case["model"])
    policy: Any
    if case["kind"] == "dpo":
        policy = load_policy(case["model"], device=case["device"])
        method, models = METHODS["dpo"](beta=case["beta"]), Models(policy=policy, reference=Reference(policy))
    else:
        policy = RewardModel(load_causal(case["model"], device=case["device"]))
        method, models = METHODS["bradley_terry"](), Models(policy=policy)
    records = []
    for row in case["pairs"]:
        a, b = items(tokenizer, row["prompt"], row["chosen"], row["rejected"])
        records.append(Comparison(a=a, b=b, answer="a", rater="nobody"))
    data = Offline(
        records=records, collate=lambda r: pairs(r, tokenizer, policy.context), size=len(records), epochs=STEPS
    )
    train(method, models, data, case, turns)


def reinforce(case: Case, turns: Turns) -> None:
    """A rollout, its rewards and the update from it are one step."""
    method = METHODS[case["method"]](**case["settings"])
    value = case["value"] if method.needs_values else None
    policy = load_policy(case["model"], value=value, device=case["device"])
    tokenizer = Tokenizer.load(case["model"])
    needs_reference = method.needs_reference and case["reference"]
    data = Rollouts(
        policy=policy,
        tokenizer=tokenizer,
        prompts=[Text(prompt=p, completion="") for p in case["prompts"]],
        reward=Combiner(sources=[FunctionReward(reward)]),
        sampling=Sampling(max_new_tokens=case["max_new_tokens"]),
        steps=STEPS,
        prompts_per_step=len(case["prompts"]),
        samples=case["samples"],
        max_batch=case["batch"],
    )
    models = Models(policy=policy, reference=Reference(policy) if needs_reference else None)
    train(method, models, data, case, turns)


def reward(prompt: str, completion: str, **_columns: object) -> float:
    """The share of one letter, which varies within a group."""
    return completion.count(LETTER) / max(1, len(completion))


LETTER = "e"


def train(method: Method, models: Models, data: Any, case: Case, turns: Turns) -> None:
    def release() -> None:
        models.policy.zero_grad(set_to_none=True)

    def on_step(_step: int, metrics: Mapping[str, float]) -> None:
        said = ("loss", "gradient_norm", "response_length", "nats_per_token")
        turns({name: metrics[name] for name in said if name in metrics}, release)

    eps = case.get("eps", Optimisation().eps)
    optimisation = Optimisation(lr=case["lr"], schedule="constant", max_norm=case["max_norm"], eps=eps)
    fit(method, models, data, optimisation, on_step=on_step)


def generate(case: Case, turns: Turns) -> None:
    model = load_causal(case["model"], device=case["device"])
    engine = Engine(model, eos_ids=case["ends"], max_batch=case["batch"])
    sampling = Sampling(max_new_tokens=case["max_new_tokens"])
    seed = 0
    while True:
        stats = engine.generate(case["ids"], sampling, samples=case["samples"], seed=seed).stats
        rows = len(case["ids"]) * case["samples"]
        turns({"tokens": stats.tokens, "response_length": stats.tokens / rows, "mean_rows": stats.mean_rows})
        seed += 1


def control(case: Case, turns: Turns) -> None:
    """A rollout of an agent in copies of an environment, and the update from it."""
    with Worlds(case["environment"], case["copies"], seed=0) as worlds:
        policy = ActorCritic(worlds.observation_space, worlds.action_space, seed=0)
        data = Collector(policy=policy, worlds=worlds, steps=STEPS, length=case["length"], seed=0)
        method = AgentPPO(epochs=case["epochs"], minibatch=case["minibatch"], value_coef=1.0)
        train(method, Models(policy=policy), data, case, turns)


KINDS: dict[str, Callable[[Case, Turns], None]] = {
    "sft": imitate,
    "dpo": compare,
    "reward_model": compare,
    "reinforce": reinforce,
    "rollout": generate,
    "control": control,
}

if __name__ == "__main__":
    case = read_case()
    turns = turns_on(case["device"])
    torch.set_num_threads(case["threads"])
    torch.manual_seed(0)
    random.seed(0)
    LETTER = case.get("letter", LETTER)
    KINDS[case["kind"]](case, turns)
