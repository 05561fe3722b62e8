"""The baseline: every voice counts the same, and the soft label is the share of voices."""

from collections.abc import Sequence

from tercih.feedback.quality.votes import A, B, tabulate
from tercih.records import Comparison, Consensus


def majority(comparisons: Sequence[Comparison]) -> list[Consensus]:
    """P(a), P(b) as the shares of judgements that said so; what is left is the share of ties."""
    votes = tabulate(comparisons)
    share_N3 = votes.counts_N3 / votes.counts_N3.sum(axis=1, keepdims=True)
    return votes.consensus(share_N3[:, A], share_N3[:, B])
