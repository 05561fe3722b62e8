"""Forward passes without gradient, shared out: each process reads some prompts, and everybody has all results."""

from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from tercih.distributed.team import Team
from tercih.forward import Against, Models, Outputs
from tercih.tokens import Tokens


class Spread(nn.Module):
    """`inner(tokens, …) -> Outputs` or a tensor of shape (B,) or (B, T), with the same result as without a team."""

    def __init__(self, team: Team, inner: Any) -> None:
        super().__init__()
        self.team, self.inner = team, inner

    @torch.no_grad()
    def forward(self, tokens: Tokens, *want: Any) -> Any:
        device = tokens.prompt_of_B.device
        mine = torch.tensor(self.team.mine(tokens.prompts), dtype=torch.long, device=device)
        row_B = torch.isin(tokens.prompt_of_B, mine).nonzero().squeeze(1)
        # Whoever has no prompt reads the first one for nothing: sharded weights are gathered by all together.
        found = self.inner(tokens.take(mine if len(mine) else mine.new_zeros(1)), *want)
        if isinstance(found, Tensor):
            return self._whole(found, row_B, tokens)
        parts = {f.name: getattr(found, f.name) for f in fields(Outputs)}
        return Outputs(**{k: None if x is None else self._whole(x, row_B, tokens) for k, x in parts.items()})

    def against(self, tokens: Tokens) -> Against:
        """As a reference is asked for its hidden states."""
        of_states = Spread(self.team, lambda part: self.inner.against(part).hidden_BTD)
        return Against(hidden_BTD=of_states(tokens), head=self.inner.head)

    def _whole(self, x: Tensor, row_B: Tensor, tokens: Tokens) -> Tensor:
        if x.ndim == 1:
            whole = x.new_zeros(tokens.rows)
            whole[row_B] = x[: len(row_B)]
        else:
            whole = x.new_zeros(*tokens.response_ids_BT.shape, *x.shape[2:])
            whole[row_B, : x.shape[1]] = x[: len(row_B)]
        return self.team.sum(whole)


def spread(team: Team, models: Models) -> Models:
    """What a method may call before its updates; the models themselves, alone."""
    if team.size == 1:
        return models
    reference = None if models.reference is None else Spread(team, models.reference)
    return replace(models, policy=Spread(team, models.policy), reference=reference)
