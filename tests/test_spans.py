import pytest

from tercih import spans


class Heard(spans.Listener):
    def __init__(self) -> None:
        self.said: list[str] = []

    def enter(self, name: str) -> None:
        self.said.append(f"<{name}")

    def leave(self) -> None:
        self.said.append(">")

    def count(self, name: str, amount: float) -> None:
        self.said.append(f"{name}={amount}")


def test_nobody_listens_and_nothing_is_made() -> None:
    assert spans.span("score") is spans.span("data")
    assert list(spans.each("data", [1, 2])) == [1, 2]
    assert not spans.enough()
    spans.count("tokens", 3)
    assert not spans.listening()


def test_a_listener_hears_all_and_only_while_it_listens() -> None:
    heard = Heard()
    with spans.listen(heard):
        with spans.span("data"), spans.span("score"):
            spans.count("tokens", 3)
        for _ in spans.each("forward", "ab"):
            with spans.span("backward"):
                pass
    spans.count("tokens", 4)
    inner = ["<forward", ">", "<backward", ">"]
    assert heard.said == ["<data", "<score", "tokens=3", ">", ">", *inner, *inner, "<forward", ">"]


def test_spans_close_when_something_breaks() -> None:
    heard = Heard()

    def break_down() -> None:
        with spans.listen(heard), spans.span("data"), spans.span("score"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_down()
    assert heard.said == ["<data", "<score", ">", ">"]
    assert not spans.listening()
