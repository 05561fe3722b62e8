"""How prompts and responses are laid out for a forward pass: the only place that pads.

A row is its prompt followed by its response, padded on the right. Under causal attention nothing real ever sees what
stands to its right, so there is no attention mask, positions count from 0, and no padding token is needed.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tercih.batches import Tokens


@dataclass(frozen=True, slots=True)
class Layout:
    """`ids_BL` goes into the model. For the M learned tokens, `row_M`, `before_M` is where the model predicts each,
    `target_M` the token itself, and `token_M` its index in a flattened (B·T) tensor."""

    ids_BL: Tensor
    row_M: Tensor
    before_M: Tensor
    target_M: Tensor
    token_M: Tensor


def lay_out(tokens: Tokens) -> Layout:
    ids_BL = join(tokens)
    row_M, t_M = tokens.loss_mask_BT.nonzero(as_tuple=True)
    prompt_len_B = tokens.prompt_len_P[tokens.prompt_of_B]
    return Layout(
        ids_BL=ids_BL,
        row_M=row_M,
        before_M=prompt_len_B[row_M] + t_M - 1,
        target_M=tokens.response_ids_BT[row_M, t_M],
        token_M=row_M * tokens.response_ids_BT.shape[1] + t_M,
    )


def join(tokens: Tokens) -> Tensor:
    """Prompt and response of every row in one, shape (B, L), right-padded with token 0."""
    prompt_ids_BS = tokens.prompt_ids_PS[tokens.prompt_of_B]
    prompt_len_B1 = tokens.prompt_len_P[tokens.prompt_of_B, None]
    length_B1 = tokens.lengths_B[:, None]
    position_L = torch.arange(int(length_B1.max()), device=prompt_ids_BS.device)[None]
    from_prompt_BL = prompt_ids_BS.gather(
        1, position_L.clamp(max=prompt_ids_BS.shape[1] - 1).expand(len(length_B1), -1)
    )
    at_BL = (position_L - prompt_len_B1).clamp(min=0, max=tokens.response_ids_BT.shape[1] - 1)
    ids_BL = torch.where(position_L < prompt_len_B1, from_prompt_BL, tokens.response_ids_BT.gather(1, at_BL))
    return torch.where(position_L < length_B1, ids_BL, 0)
