"""What scores an item, and the combiner that makes one reward of several."""

from tercih.rewards.combine import Combiner, Overlong
from tercih.rewards.ensemble import EnsembleReward
from tercih.rewards.judge import Judge, JudgeReward
from tercih.rewards.learned import LearnedReward
from tercih.rewards.rules import RuleReward
from tercih.rewards.source import FunctionReward, RewardError, RewardSource, Scores

__all__ = [
    "Combiner", "EnsembleReward", "FunctionReward", "Judge", "JudgeReward", "LearnedReward", "Overlong", "RewardError",
    "RewardSource", "RuleReward", "Scores",
]  # fmt: skip
