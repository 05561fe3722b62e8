"""The shelf: every method under its name. One published method per file; they never import each other."""

from tercih.algorithms.bradley_terry import BradleyTerry
from tercih.algorithms.dpo import DPO
from tercih.algorithms.plackett_luce import PlackettLuce
from tercih.algorithms.ppo import PPO
from tercih.algorithms.sft import SFT
from tercih.method import Method

METHODS: dict[str, type[Method]] = {
    "sft": SFT,
    "bradley_terry": BradleyTerry,
    "plackett_luce": PlackettLuce,
    "ppo": PPO,
    "dpo": DPO,
}
