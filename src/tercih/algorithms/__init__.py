"""The shelf: every method under its name. One published method per file; they never import each other."""

from tercih.algorithms.a2c import A2C
from tercih.algorithms.awac import AWAC
from tercih.algorithms.awr import AWR
from tercih.algorithms.binned_regression import BinnedRegression
from tercih.algorithms.bradley_terry import BradleyTerry
from tercih.algorithms.conditional import Conditional
from tercih.algorithms.conservative_dpo import ConservativeDPO
from tercih.algorithms.context_distillation import ContextDistillation
from tercih.algorithms.cpo import CPO
from tercih.algorithms.cql import CQL
from tercih.algorithms.dapo import DAPO
from tercih.algorithms.dpo import DPO
from tercih.algorithms.dpop import DPOP
from tercih.algorithms.dr_grpo import DrGRPO
from tercih.algorithms.f_dpg import FDPG
from tercih.algorithms.filtered_sft import FilteredSFT
from tercih.algorithms.grpo import GRPO
from tercih.algorithms.gspo import GSPO
from tercih.algorithms.ilql import ILQL
from tercih.algorithms.ipo import IPO
from tercih.algorithms.kto import KTO
from tercih.algorithms.kwise_dpo import KwiseDPO
from tercih.algorithms.mrt import MRT
from tercih.algorithms.nash_md import NashMD
from tercih.algorithms.nlpo import NLPO
from tercih.algorithms.online_dpo import OnlineDPO
from tercih.algorithms.orpo import ORPO
from tercih.algorithms.plackett_luce import PlackettLuce
from tercih.algorithms.ppo import PPO
from tercih.algorithms.process_reward import ProcessReward
from tercih.algorithms.quark import Quark
from tercih.algorithms.raft import RAFT
from tercih.algorithms.reinforce import REINFORCE
from tercih.algorithms.reinforce_pp import ReinforcePP
from tercih.algorithms.rloo import RLOO
from tercih.algorithms.robust_dpo import RobustDPO
from tercih.algorithms.rrhf import RRHF
from tercih.algorithms.rule_model import RuleModel
from tercih.algorithms.rwr import RWR
from tercih.algorithms.score_regression import ScoreRegression
from tercih.algorithms.sft import SFT
from tercih.algorithms.simpo import SimPO
from tercih.algorithms.slic import SLiC
from tercih.algorithms.unlikelihood import Unlikelihood
from tercih.method import Method

METHODS: dict[str, type[Method]] = {
    "sft": SFT,
    "bradley_terry": BradleyTerry,
    "plackett_luce": PlackettLuce,
    "reinforce": REINFORCE,
    "mrt": MRT,
    "a2c": A2C,
    "score_regression": ScoreRegression,
    "binned_regression": BinnedRegression,
    "process_reward": ProcessReward,
    "rule_model": RuleModel,
    "ppo": PPO,
    "nlpo": NLPO,
    "reinforce_pp": ReinforcePP,
    "f_dpg": FDPG,
    "rloo": RLOO,
    "grpo": GRPO,
    "dr_grpo": DrGRPO,
    "dapo": DAPO,
    "gspo": GSPO,
    "dpo": DPO,
    "conservative_dpo": ConservativeDPO,
    "robust_dpo": RobustDPO,
    "dpop": DPOP,
    "ipo": IPO,
    "kwise_dpo": KwiseDPO,
    "online_dpo": OnlineDPO,
    "nash_md": NashMD,
    "kto": KTO,
    "cpo": CPO,
    "simpo": SimPO,
    "orpo": ORPO,
    "slic": SLiC,
    "rrhf": RRHF,
    "raft": RAFT,
    "filtered_sft": FilteredSFT,
    "rwr": RWR,
    "awr": AWR,
    "conditional": Conditional,
    "unlikelihood": Unlikelihood,
    "quark": Quark,
    "context_distillation": ContextDistillation,
    "ilql": ILQL,
    "awac": AWAC,
    "cql": CQL,
}
