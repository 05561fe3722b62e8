import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tercih.agents.folder import load, read_about, save
from tercih.environments.control import ControlError
from tercih.environments.worlds import Worlds
from tercih.models.control import ActorCritic
from tercih.models.ensemble import RewardEnsemble


@pytest.mark.parametrize("kind", [ActorCritic, RewardEnsemble])
def test_it_comes_back_as_it_was(kind: type, tmp_path: Path) -> None:
    with Worlds("Pendulum-v1", 2, options={"g": 9.0}) as worlds:
        model = kind(worlds.observation_space, worlds.action_space, hidden=(5,), seed=3)
        seen = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
        model.observe(torch.from_numpy(seen))
        save(tmp_path, model, worlds)
        again = load(tmp_path, kind)
        assert model.settings == again.settings
        for name, x in model.state_dict().items():
            assert torch.equal(x, again.state_dict()[name])
        if kind is ActorCritic:
            assert np.array_equal(again.likeliest(seen), model.likeliest(seen))
    assert read_about(tmp_path)["options"] == {"g": 9.0}


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    with Worlds("Pendulum-v1", 1) as worlds, Worlds("CartPole-v1", 1) as others:
        save(tmp_path, ActorCritic(worlds.observation_space, worlds.action_space), worlds)
        with pytest.raises(ControlError, match="trained in Pendulum-v1 and does not fit CartPole-v1"):
            load(tmp_path, ActorCritic, others)
        with pytest.raises(ControlError, match="holds a ActorCritic, not a RewardEnsemble"):
            load(tmp_path, RewardEnsemble)
    with pytest.raises(ControlError, match="holds no agent"):
        load(tmp_path / "elsewhere", ActorCritic)
    (tmp_path / "agent.json").write_text(json.dumps({"kind": "Thing"}))
    with pytest.raises(ControlError, match="does not say which of"):
        read_about(tmp_path)
