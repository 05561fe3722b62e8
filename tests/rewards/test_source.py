import math

import pytest
import torch

from tercih.records import Message, Text
from tercih.rewards import FunctionReward, RewardError, Scores
from tercih.rewards.source import check

ITEMS = [
    Text(prompt="2 + 2 =", completion=" 4", columns={"answer": "4", "points": 3}),
    Text(prompt="2 + 3 =", completion=" 6", columns={"answer": "5", "points": 2}),
]


def correct(prompt: str, completion: str, *, answer: str, points: float) -> float:
    return points if completion.strip() == answer else 0


def test_a_plain_function_gets_prompt_completion_and_columns() -> None:
    scores = FunctionReward(correct).score(ITEMS)
    assert scores.names == ("correct",)
    assert scores.reward_BC.dtype == torch.float32
    assert scores.reward_BC.tolist() == [[3.0], [0.0]]


def test_a_function_may_ignore_columns_or_take_some() -> None:
    count = FunctionReward(lambda prompt, completion, **columns: len(columns))
    assert count.score(ITEMS).reward_BC.tolist() == [[2], [2]]
    assert FunctionReward(correct, "maths").score(ITEMS).names == ("maths",)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_not_finite_names_its_prompt(bad: float) -> None:
    reward = FunctionReward(lambda prompt, completion, **_: bad if "3" in prompt else 1.0, "odd")
    with pytest.raises(RewardError, match=rf"reward 'odd' is {bad} for the completion ' 6' of prompt '2 \+ 3 ='"):
        reward.score(ITEMS)


def test_a_function_that_fails_names_its_prompt() -> None:
    with pytest.raises(RewardError, match=r"prompt '2 \+ 2 =': ZeroDivisionError"):
        FunctionReward(lambda prompt, completion, **_: 1 / 0).score(ITEMS)
    with pytest.raises(RewardError, match=r"unexpected keyword argument 'answer'"):
        FunctionReward(lambda prompt, completion: 1.0).score(ITEMS)
    with pytest.raises(RewardError, match=r"must return a number"):
        FunctionReward(lambda prompt, completion, **_: None).score(ITEMS)


def test_check_names_component_and_conversation() -> None:
    talk = Text(prompt=(Message(role="user", content="hello there"),), completion="you")
    scores = Scores(names=("good", "bad"), reward_BC=torch.tensor([[0.0, 1.0], [2.0, math.nan]]))
    with pytest.raises(RewardError, match=r"reward 'bad' is nan for the completion 'you' of prompt 'hello there'"):
        check(scores, [ITEMS[0], talk])
