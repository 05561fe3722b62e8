"""Small networks that act in environments: raw observations in; log π, entropy and value out.

Shape suffixes here: B steps, O numbers of an observation, A numbers of an action, H hidden units. Spaces are
Gymnasium's, but Gymnasium is not imported: whoever holds a space has it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from tercih.models.running import Running

FAR = 10.0  # deviations; what lies further out is moved in
LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What the networks say of actions in the states in which they were chosen."""

    logp_B: Tensor
    entropy_B: Tensor
    value_B: Tensor


class ActorCritic(nn.Module):
    """An actor and a critic of the same shape, side by side: `policy(observation_B, action_B) -> Judged`.

    Both are tanh networks with orthogonal weights (gain √2, 0.01 for the actor's last layer, 1 for the critic's) and
    biases 0. They share no weight, but each layer of the two is one batched product, since small products cost what
    calling them costs. Actions of a Discrete space are drawn from a softmax. Those of a Box are Gaussian, with
    deviations that do not depend on the state; they are moved to the bounds only where the environment
    gets them (`for_environment`), so that log π is that of what was drawn.

    `deviation` is what Gaussian actions begin with. Observations are standardised with the mean and deviation of all
    that `observe` was shown (`normalise`), and those of a Discrete space are one-hot. Raises ValueError for spaces that
    do not fit.
    """

    shift_O: Tensor
    scale_O: Tensor

    def __init__(
        self,
        observation_space: Any,
        action_space: Any,
        *,
        hidden: Sequence[int] = (64, 64),
        deviation: float = 1.0,
        normalise: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not deviation > 0:
            raise ValueError(f"the deviation of actions must be > 0, got {deviation}")
        self.settings = {"hidden": list(hidden), "deviation": deviation, "normalise": normalise}
        self.categories, inputs = inputs_of(observation_space)
        self.discrete, outputs = outputs_of(action_space)
        self.axes, self.action_space = len(observation_space.shape), action_space
        self.normalise = normalise and not self.categories
        self.seen = Running(inputs)
        self.register_buffer("shift_O", torch.zeros(inputs))
        self.register_buffer("scale_O", torch.ones(inputs))
        widths = [inputs, *hidden]
        shapes = list(pairwise(widths))
        self.weights = nn.ParameterList(torch.empty(2, below, above) for below, above in shapes)
        self.biases = nn.ParameterList(torch.zeros(2, 1, above) for _, above in shapes)
        self.actor = nn.Linear(widths[-1], outputs)
        self.critic = nn.Linear(widths[-1], 1)
        self.log_deviation_A = None if self.discrete else nn.Parameter(torch.full((outputs,), math.log(deviation)))
        dice = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in self.weights:
                for one in weight:
                    nn.init.orthogonal_(one, math.sqrt(2), generator=dice)
            for head, gain in ((self.actor, 0.01), (self.critic, 1.0)):
                nn.init.orthogonal_(head.weight, gain, generator=dice)
                head.bias.zero_()

    def forward(self, observation_B: Tensor, action_B: Tensor) -> Judged:
        """Observations as `numbers` makes them, actions as `act` draws them."""
        actor_BH, critic_BH = self._hidden(observation_B)
        logp_B, entropy_B = self._judge(self.actor(actor_BH), action_B)
        return Judged(logp_B=logp_B, entropy_B=entropy_B, value_B=self.critic(critic_BH).squeeze(-1))

    def value(self, observation_B: Tensor) -> Tensor:
        """Shape (B,)."""
        value_B: Tensor = self.critic(self._hidden(observation_B)[1]).squeeze(-1)
        return value_B

    def act(self, observation_B: Tensor, noise_BA: Tensor) -> Tensor:
        """The action that this noise draws; with noise 0 the likeliest one."""
        output_BA: Tensor = self.actor(self._hidden(observation_B)[0])
        if self.log_deviation_A is None:
            return (output_BA + noise_BA).argmax(-1)
        return torch.addcmul(output_BA, self.log_deviation_A.exp(), noise_BA)

    @torch.no_grad()
    def likeliest(self, observation_N: NDArray[Any]) -> NDArray[Any]:
        """The likeliest actions, from and for the environment."""
        read_NO = self.numbers(observation_N)
        return self.for_environment(self.act(read_NO, read_NO.new_zeros(len(observation_N), self.actor.out_features)))

    def noise(self, *shape: int, dice: torch.Generator) -> Tensor:
        """What `act` draws with, shape (*shape, A): Gumbel's for a softmax, else normal."""
        size = (*shape, self.actor.out_features)
        if self.discrete:
            return -torch.empty(size).exponential_(generator=dice).log()
        return torch.randn(size, generator=dice)

    def numbers(self, observation_B: NDArray[Any]) -> Tensor:
        """Observations of the environment as the networks read them, on their device; B may be several axes."""
        device = self.shift_O.device
        if self.categories:
            return torch.as_tensor(observation_B, dtype=torch.long, device=device)
        rows = observation_B.shape[: observation_B.ndim - self.axes]
        return torch.as_tensor(observation_B, dtype=self.shift_O.dtype, device=device).reshape(*rows, -1)

    def for_environment(self, action_B: Tensor) -> NDArray[Any]:
        """As the environment takes them: of its own shape and type, and inside its bounds."""
        space, action = self.action_space, action_B.cpu().numpy()
        if self.discrete:
            return np.asarray(action + space.start, dtype=space.dtype)
        shaped = action.reshape(len(action), *space.shape)
        inside: NDArray[Any] = np.clip(shaped, space.low, space.high).astype(space.dtype, copy=False)
        return inside

    def as_drawn(self, action_B: NDArray[Any]) -> Tensor:
        """The environment's actions as `act` draws them: `for_environment` undone, for those inside the bounds."""
        device = self.shift_O.device
        if self.discrete:
            return torch.as_tensor(action_B - self.action_space.start, dtype=torch.long, device=device)
        return torch.as_tensor(action_B, dtype=self.shift_O.dtype, device=device).reshape(len(action_B), -1)

    @torch.no_grad()
    def observe(self, observation_B: Tensor) -> None:
        """More of what observations look like; changes what the networks read from now on."""
        if self.normalise:
            self.seen.absorb(observation_B)
            self.shift_O.copy_(self.seen.mean)
            self.scale_O.copy_(1 / self.seen.deviation)

    def _hidden(self, observation_B: Tensor) -> Tensor:
        """Shape (2, B, H): the actor's and the critic's."""
        if self.categories:
            read_BO = F.one_hot(observation_B, self.categories).to(self.shift_O)
        elif self.normalise:
            read_BO = ((observation_B - self.shift_O) * self.scale_O).clamp(-FAR, FAR)
        else:
            read_BO = observation_B
        x_2BH = read_BO.expand(2, -1, -1)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x_2BH = torch.baddbmm(bias, x_2BH, weight).tanh()
        return x_2BH

    def _judge(self, output_BA: Tensor, action_B: Tensor) -> tuple[Tensor, Tensor]:
        """log π of the actions, and the entropy of what they were drawn from."""
        if self.log_deviation_A is None:
            logp_BA = output_BA.log_softmax(-1)
            return logp_BA.gather(-1, action_B[:, None]).squeeze(-1), -(logp_BA.exp() * logp_BA).sum(-1)
        away_BA = (action_B - output_BA) * (-self.log_deviation_A).exp()
        size = self.log_deviation_A.sum() + len(self.log_deviation_A) * LOG_ROOT_2PI
        entropy = size + 0.5 * len(self.log_deviation_A)
        return -0.5 * away_BA.square().sum(-1) - size, entropy.expand(len(output_BA))


def inputs_of(space: Any) -> tuple[int, int]:
    """How many categories an observation has (0: it is numbers), and how many numbers are read of it."""
    kind = type(space).__name__
    if kind == "Discrete" and space.start == 0:
        return int(space.n), int(space.n)
    if kind != "Box" or len(space.shape) > 2:
        raise ValueError(
            f"observations of {space} cannot be read by these small networks: they read a Box of one or two axes, or a"
            " Discrete space that begins at 0; wrap the environment (gymnasium.wrappers.FlattenObservation)"
        )
    return 0, math.prod(space.shape)


def outputs_of(space: Any) -> tuple[bool, int]:
    """Whether one of several actions is chosen, and how many numbers the actor puts out."""
    kind = type(space).__name__
    if kind == "Discrete":
        return True, int(space.n)
    if kind != "Box" or not np.issubdtype(space.dtype, np.floating):
        raise ValueError(
            f"actions of {space} cannot be learned: only those of a Discrete space or of a Box of real numbers can;"
            " wrap the environment in one that has such actions (gymnasium.ActionWrapper)"
        )
    return False, math.prod(space.shape)
