"""Which rows stand together, as long as the longest of them: for segments of a stream, or passes of their own.

A row is its prompt followed by its response, padded on the right. Under causal attention nothing real ever sees what
stands to its right, so padding needs no mask and no token of its own, and positions count from 0. Rows of like length
stand together, so that little is padded, and a row is read only as far as something is wanted of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tercih.tokens import Tokens

MOST_CUTS = 64  # lengths that rows are rounded up to before the best cut is looked for


@dataclass(frozen=True, slots=True)
class Places:
    """M positions, each number `at_M` of row `row_M`, counted from the prompt's first token: what a model's hidden
    states are wanted of."""

    row_M: Tensor
    at_M: Tensor


@dataclass(frozen=True, slots=True)
class Learned:
    """The M tokens that are learned from: where each is predicted, the token itself, and its index in a flattened
    (B·T) tensor."""

    places: Places
    target_M: Tensor
    token_M: Tensor


def learned(tokens: Tokens) -> Learned:
    row_M, t_M = tokens.loss_mask_BT.nonzero(as_tuple=True)
    prompt_len_B = tokens.prompt_len_P[tokens.prompt_of_B]
    return Learned(
        places=Places(row_M, prompt_len_B[row_M] + t_M - 1),
        target_M=tokens.response_ids_BT[row_M, t_M],
        token_M=row_M * tokens.response_ids_BT.shape[1] + t_M,
    )


def join(tokens: Tokens, row_R: Tensor, length: int) -> Tensor:
    """The first `length` tokens of some rows, prompt and response in one, shape (R, length); 0 beyond a row's end."""
    prompt_R, response_ids_RT = tokens.prompt_of_B[row_R], tokens.response_ids_BT[row_R]
    prompt_len_R1 = tokens.prompt_len_P[prompt_R, None]
    position_RL = torch.arange(length, device=row_R.device).expand(len(row_R), -1)
    ids_RS = tokens.prompt_ids_PS[prompt_R]
    from_prompt_RL = ids_RS.gather(1, position_RL.clamp(max=ids_RS.shape[1] - 1))
    at_RL = (position_RL - prompt_len_R1).clamp(min=0, max=response_ids_RT.shape[1] - 1)
    ids_RL = torch.where(position_RL < prompt_len_R1, from_prompt_RL, response_ids_RT.gather(1, at_RL))
    return torch.where(position_RL < tokens.lengths_B[row_R, None], ids_RL, 0)


def alike(lengths: Sequence[int], extra: int) -> Iterator[tuple[list[int], int]]:
    """Cut rows into groups of like length: the numbers of a group's rows, and its longest length.

    The sum over groups of rows × longest + `extra` is the least there is: what a pass costs in tokens, `extra` being
    what it costs besides. Rows of length 0 are in no group.
    """
    length_N = np.asarray(lengths, dtype=np.int64)
    order_N = np.argsort(-length_N, kind="stable")
    order_N = order_N[length_N[order_N] > 0]
    if not len(order_N):
        return
    sorted_N = length_N[order_N]
    cut_K = np.flatnonzero(np.diff(sorted_N)) + 1  # where a group may begin: longest first
    if len(cut_K) > MOST_CUTS:
        cut_K = cut_K[np.linspace(0, len(cut_K) - 1, MOST_CUTS).astype(np.int64)]
    edge_K = np.concatenate([[0], cut_K, [len(sorted_N)]])
    cost_K, came_K = np.zeros(len(edge_K)), np.zeros(len(edge_K), dtype=np.int64)
    for k in range(1, len(edge_K)):
        start_k = edge_K[:k]
        cost_k = cost_K[:k] + (edge_K[k] - start_k) * sorted_N[start_k] + extra
        came_K[k] = int(cost_k.argmin())
        cost_K[k] = cost_k[came_K[k]]
    k = len(edge_K) - 1
    while k > 0:
        start, end = int(edge_K[came_K[k]]), int(edge_K[k])
        yield order_N[start:end].tolist(), int(sorted_N[start])
        k = int(came_K[k])
