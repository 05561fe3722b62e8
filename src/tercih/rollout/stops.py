"""Whether a response has just completed one of its stop texts."""

from collections.abc import Callable, Sequence


class Stops:
    """Decodes the tail of a response, and only after a token that may complete a stop text.

    `texts` remembers what each token is alone, across calls.
    """

    def __init__(self, stop: Sequence[str], decode: Callable[[list[int]], str], texts: dict[int, str]) -> None:
        self.stop = stop
        self.decode = decode
        self.texts = texts
        self.last = {s[-1] for s in stop}
        self.blank = any(c.isspace() for c in self.last)  # tokenizers drop spaces around a token that stands alone
        self.tail = max(len(s.encode()) for s in stop) + 1  # a token may be a single byte; one more for its space

    def __call__(self, ids: list[int]) -> bool:
        return self._may_end(ids[-1]) and any(s in self.decode(ids[-self.tail :]) for s in self.stop)

    def _may_end(self, token: int) -> bool:
        text = self.texts.get(token)
        if text is None:
            text = self.texts[token] = self.decode([token])
        # An empty text or U+FFFD is a token that shows only together with its neighbours, such as part of a character.
        return self.blank or not text or "\ufffd" in text or not self.last.isdisjoint(text)
