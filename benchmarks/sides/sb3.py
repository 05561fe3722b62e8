"""Stable-Baselines3's PPO, with a pause after every rollout and its updates; everything else as it comes."""

import torch
from harness.turns import Turns, read_case
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

STEPS = 10**12  # more than anybody waits for


class Pause(BaseCallback):
    """A rollout begins when the updates on the one before it are over."""

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self.turns, self.begun = turns, False

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.begun:
            self.turns({}, self.model.policy.zero_grad)
        self.begun = True


if __name__ == "__main__":
    turns, case = Turns(), read_case()
    torch.set_num_threads(case["threads"])
    copies = make_vec_env(case["environment"], n_envs=case["copies"], seed=0)
    model = PPO(
        "MlpPolicy",
        VecNormalize(copies),
        n_steps=case["length"],
        batch_size=case["minibatch"],
        n_epochs=case["epochs"],
        learning_rate=case["lr"],
        vf_coef=0.5,
        seed=0,
        device="cpu",
    )
    model.learn(STEPS, callback=Pause(turns), log_interval=None)
