"""SAC beside Stable-Baselines3's: the same settings (two layers of 256, batches of 256, one update a step), in turns.

    python benchmarks/control_sac.py --json sac.json [--environment Pendulum-v1 HalfCheetah-v5] [--threads 1]

`update` is updates alone, on memories of the same size; `step` is all of it: acting, the environment, remembering and
one update. Needs `pip install stable-baselines3` in the same environment, and `gymnasium[mujoco]` for HalfCheetah.

    python benchmarks/control_sac.py --returns 3 --steps 20000 [--hidden 64 64] [--lr 1e-3]

trains that many seeds of ours instead, no peer needed, and says what the policies without exploration come to in 20
unseen episodes.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from harness.bench import save
from harness.ratios import paired_ratio

from tercih.agents.evaluate import returns
from tercih.agents.off_policy import OffPolicy, learn
from tercih.agents.sac import SAC
from tercih.environments.worlds import Worlds

WARM = 1000


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds that went by, and those that this process worked."""
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - cpu


def our_side(agent: SAC, environment: str, count: int) -> dict[str, Callable[[], Any]]:
    trainer = OffPolicy(agent, Worlds(environment, 1), row=count)
    while trainer.taken < WARM:
        trainer.step(0)

    def update() -> None:
        for _ in range(count):
            trainer.learner.update(trainer.replay.sample(agent.batch, gamma=agent.gamma))

    return {"update": update, "step": lambda: trainer.step(0)}


def peer_side(agent: SAC, environment: str, count: int) -> dict[str, Callable[[], Any]]:
    try:
        import stable_baselines3
    except ModuleNotFoundError:
        raise SystemExit("there is no Stable-Baselines3 here: pip install stable-baselines3") from None
    model = stable_baselines3.SAC(
        "MlpPolicy", environment, learning_rate=agent.lr, buffer_size=agent.capacity, learning_starts=agent.starts,
        batch_size=agent.batch, tau=agent.tau, gamma=agent.gamma, train_freq=1, gradient_steps=1,
        policy_kwargs={"net_arch": list(agent.hidden)}, device="cpu", seed=0,
    )  # fmt: skip
    model.learn(WARM, log_interval=None)
    return {
        "update": lambda: model.train(gradient_steps=count, batch_size=agent.batch),
        "step": lambda: model.learn(count, log_interval=None, reset_num_timesteps=False),
    }


def beside(options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for environment in options.environment:
        agent = SAC(hidden=tuple(options.hidden), lr=options.lr, starts=100)
        ours, peer = (side(agent, environment, options.count) for side in (our_side, peer_side))
        for what in ("update", "step"):
            pairs = []
            for number in range(options.rounds + 1):  # the first pair is not kept
                sides = (ours, peer) if number % 2 else (peer, ours)
                seconds = [timed(side[what]) for side in sides]
                pairs.append(tuple(seconds if number % 2 else reversed(seconds)))
            row: dict[str, Any] = {
                "benchmark": "control_sac", "case": what, "environment": environment, "hidden": options.hidden,
                "peer": "stable-baselines3", "rounds": options.rounds,
            }  # fmt: skip
            for at, clock in enumerate(("", "cpu_")):
                a, b = ([pair[side][at] for pair in pairs[1:]] for side in range(2))
                ratio = paired_ratio(b, a)
                row |= {
                    f"{clock}times_faster": {"median": ratio.median, "low": ratio.low, "high": ratio.high},
                    f"ours_per_{clock}s": options.count / statistics.median(a),
                    f"peer_per_{clock}s": options.count / statistics.median(b),
                }
                print(
                    f"{environment}, {what}: {row[f'ours_per_{clock}s']:.1f} a second against"
                    f" {row[f'peer_per_{clock}s']:.1f}, {ratio} times as fast{' by CPU time' if clock else ''}",
                    flush=True,
                )
            rows.append(row)
    return rows


def own_returns(options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for environment in options.environment:
        for seed in range(options.returns):
            agent = SAC(hidden=tuple(options.hidden), lr=options.lr, starts=100)
            with Worlds(environment, 1, seed=seed) as worlds, Worlds(environment, 1, seed=10_000 + seed) as unseen:
                began = time.perf_counter()
                trained = learn(agent, worlds, options.steps, seed=seed)
                seconds = time.perf_counter() - began
                found = returns(trained.likeliest, unseen, 20)
            mean, error = statistics.mean(found), statistics.stdev(found) / len(found) ** 0.5
            rows.append({
                "benchmark": "control_sac", "case": "return", "environment": environment, "hidden": options.hidden,
                "lr": options.lr, "seed": seed, "steps": options.steps, "return": mean, "standard_error": error,
                "episodes": len(found), "seconds": seconds,
            })  # fmt: skip
            print(f"{environment}, seed {seed}: {mean:.1f} ± {error:.1f} (standard error), {seconds:.0f} s", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--environment", nargs="+", default=["Pendulum-v1"])
    parser.add_argument("--hidden", nargs="+", type=int, default=[256, 256])
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of either side")
    parser.add_argument("--count", type=int, default=100, help="updates or steps in a repetition")
    parser.add_argument("--rounds", type=int, default=10, help="repetitions of either side, in turn")
    parser.add_argument("--returns", type=int, default=0, metavar="SEEDS", help="train so many seeds instead")
    parser.add_argument("--steps", type=int, default=20_000, help="environment steps of --returns")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    save(options, own_returns(options) if options.returns else beside(options))


if __name__ == "__main__":
    main()
