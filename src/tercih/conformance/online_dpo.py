"""Proof of online DPO: on its own samples, labelled with the chances of their rewards, it stays with π* once it is
there and finds it from the reference."""

from torch import Tensor

from tercih.algorithms.online_dpo import OnlineDPO
from tercih.conformance.checks import Findings, above_zero, at_least, at_most
from tercih.conformance.enumerable import distribution, optimum, total_variation
from tercih.conformance.lab import Lab, Sampled, World, train
from tercih.method import Method
from tercih.optimisation import Optimisation

BETA = 0.5


def prove(lab: Lab, method: type[OnlineDPO] = OnlineDPO) -> Findings:
    steps = lab.of(quick=150, full=400)
    world, configured = lab.worlds[0], method(beta=BETA, soft=True)

    def missed(world: World, steps: int) -> float:
        return total_variation(sampled(world, configured, steps), target(world))

    real_Y, control_Y = sampled(world, configured, steps), sampled(world, configured, steps, shuffled=True)
    far = sampled(world, method(beta=100 * BETA, soft=True), steps)
    return Findings(
        identity=at_most("TV to π*", total_variation(real_Y, target(world)), 0.05),
        ordering=above_zero(
            f"TV to π*, before − after {steps} steps", [missed(w, 0) - missed(w, steps) for w in lab.worlds]
        ),
        negative_control=at_most(
            "gain in true reward, shuffled / real", abs(world.gain(control_Y)) / world.gain(real_Y), 0.2
        ),
        ablation=at_least("TV to π*, 100 times the β", total_variation(far, target(world)), 0.1),
    )


def target(world: World) -> Tensor:
    return optimum(world.base_Y, world.reward_Y, BETA)


def sampled(world: World, method: Method, steps: int, *, shuffled: bool = False) -> Tensor:
    policy = world.policy()
    if steps:
        data = Sampled(
            language=world.language, policy=policy, reward_Y=world.reward_Y, steps=steps, rows=256, samples=2,
            key=(*world.key, 60), shuffled=shuffled,
        )  # fmt: skip
        train(method, world.models(policy), data, Optimisation(lr=0.1, betas=(0.5, 0.9)))
    return distribution(policy, world.language)
