import pytest

from tercih.evaluation.diversity import distinct_n, mean_length, repetition_share


def test_distinct_n_pools_the_texts() -> None:
    assert distinct_n(["a b a", "a b"], 1) == 2 / 5
    assert distinct_n(["a b a", "a b"], 2) == 2 / 3
    assert distinct_n(["a"], 2) == 0.0


def test_repetition_is_within_a_text() -> None:
    assert repetition_share(["a b c d e", "f g h i j"]) == 0.0
    assert repetition_share(["x x x x x x x"], 4) == pytest.approx(3 / 4)
    assert repetition_share(["short"], 4) == 0.0


def test_mean_length_is_in_words() -> None:
    assert mean_length(["one two", "one two three four"]) == 3.0
    with pytest.raises(ValueError, match="no texts"):
        mean_length([])
