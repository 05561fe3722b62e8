"""The shelf: every method under its name. One published method per file; they never import each other."""

from tercih.algorithms.bradley_terry import BradleyTerry
from tercih.algorithms.dapo import DAPO
from tercih.algorithms.dpo import DPO
from tercih.algorithms.dr_grpo import DrGRPO
from tercih.algorithms.grpo import GRPO
from tercih.algorithms.gspo import GSPO
from tercih.algorithms.plackett_luce import PlackettLuce
from tercih.algorithms.ppo import PPO
from tercih.algorithms.rloo import RLOO
from tercih.algorithms.sft import SFT
from tercih.method import Method

METHODS: dict[str, type[Method]] = {
    "sft": SFT,
    "bradley_terry": BradleyTerry,
    "plackett_luce": PlackettLuce,
    "ppo": PPO,
    "rloo": RLOO,
    "grpo": GRPO,
    "dr_grpo": DrGRPO,
    "dapo": DAPO,
    "gspo": GSPO,
    "dpo": DPO,
}
