"""A whole step of PPO with values and a reference (sample, score, four epochs of updates) beside TRL's last PPO.

    python benchmarks/ppo.py --json ppo.json [--model FOLDER llama-15m] [--epochs 4] [--threads 1]

TRL 1.12's experimental trainer keeps a value model of its own, so ours does as well (`separate`); `shared` is our
default, where values are read from the policy's own trunk. Natural and equal lengths as in `policy_gradient.py`. TRL's
reward is a module that costs nothing, ours a plain function of the decoded text. TRL runs in an environment of its own:
see `peers.sh`.

The last rows need no peer: PPO with values and a reference beside our own GRPO with a reference, on the same prompts
(eight answers to each of eight) and with as many epochs; a ratio of 0.77 is 1.3 times GRPO's time.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

from harness.bench import OUR_GRPO, TRL_PPO, Work, main
from harness.models import add_scorer, beginnings, prepared
from harness.texts import spread
from policy_gradient import EQUAL, LONGEST, MEAN, SAMPLES, letter

PROMPTS, GROUPS = 64, 8


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--epochs", type=int, default=4)


def works(options: Namespace) -> Iterator[Work]:
    for given in options.model:
        for natural in (True, False):
            with prepared(given, mean_length=MEAN if natural else None, natural_end=options.end) as folder:
                prompts, scorer = beginnings(folder, spread(PROMPTS, 4, 32, seed=0)), add_scorer(folder)
                lengths, longest = ("natural lengths", LONGEST) if natural else ("equal lengths", EQUAL)
                case = {
                    "kind": "reinforce", "model": str(folder.path), "scorer": str(scorer), "prompts": prompts,
                    "samples": 1, "max_new_tokens": longest, "batch": PROMPTS, "letter": letter(folder),
                    "method": "ppo", "reference": True, "settings": {"epochs": options.epochs, "kl_coef": 0.05},
                    "lr": 1e-6, "max_norm": None,
                }  # fmt: skip
                groups = {"prompts": beginnings(folder, spread(GROUPS, 4, 32, seed=0)), "samples": SAMPLES}
                grpo = {"method": "grpo", "settings": {"epochs": options.epochs, "kl_coef": 0.05}}
                for peer, change, peer_case, values in (
                    (TRL_PPO, {}, {}, ("separate", "shared")),
                    (OUR_GRPO, groups, grpo, ("shared", "separate")),
                ):
                    for value in values:
                        yield Work(
                            benchmark="ppo",
                            name=f"{lengths}, values {value}",
                            model=folder.name,
                            case=case | change | {"value": value},
                            peer=peer,
                            peer_case=peer_case,
                            about={"longest": longest, "epochs": options.epochs},
                        )


if __name__ == "__main__":
    main(__doc__, works, options)
