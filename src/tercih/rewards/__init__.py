"""What scores an item, and the combiner that makes one reward of several."""

from tercih.rewards.combine import Combiner, Overlong
from tercih.rewards.learned import LearnedReward
from tercih.rewards.source import FunctionReward, RewardError, RewardSource, Scores

__all__ = ["Combiner", "FunctionReward", "LearnedReward", "Overlong", "RewardError", "RewardSource", "Scores"]
