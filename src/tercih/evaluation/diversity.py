"""Whether a policy still says different things: words are what whitespace separates."""

from collections.abc import Sequence


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Unique n-grams over all n-grams of the pooled texts (Li et al. 2016); 0 where there are none.

    It falls as more text is pooled: compare equal numbers of samples of similar length.
    """
    grams = [gram for text in texts for gram in _ngrams(text, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def repetition_share(texts: Sequence[str], n: int = 4) -> float:
    """The share of n-grams that have occurred before in the same text, averaged over texts (0 if none has any)."""
    shares = [1 - len(set(grams)) / len(grams) for text in texts if (grams := _ngrams(text, n))]
    return sum(shares) / len(shares) if shares else 0.0


def mean_length(texts: Sequence[str]) -> float:
    """Words per text."""
    if not texts:
        raise ValueError("the mean length of no texts is undefined")
    return sum(len(text.split()) for text in texts) / len(texts)


def _ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    if n < 1:
        raise ValueError(f"n must be >= 1, got {n}")
    words = text.split()
    return list(zip(*(words[i:] for i in range(n)), strict=False))
