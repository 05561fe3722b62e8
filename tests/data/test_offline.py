from collections import Counter
from typing import Any

import pytest

from tercih.data.offline import Offline


def offline(count: int = 10, **options: Any) -> Offline[int]:
    settings: dict[str, Any] = {"size": 4, "epochs": 3, "seed": 0} | options
    return Offline(records=range(count), collate=list, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 3, 4, 8, 10])
def test_every_record_once_an_epoch(count: int) -> None:
    data = offline(count)
    assert data.steps == 3 * data.per_epoch
    for epoch in range(3):
        batches = [data(epoch * data.per_epoch + i) for i in range(data.per_epoch)]
        assert Counter(x for batch in batches for x in batch) == Counter(range(count))  # type: ignore[attr-defined]
        assert all(len(batch) == 4 for batch in batches[:-1])  # type: ignore[arg-type]


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    forwards = [offline()(step) for step in range(9)]
    again = offline()
    assert [again(step) for step in reversed(range(9))] == forwards[::-1]
    assert [offline(epochs=9)(step) for step in range(9)] == forwards, "more epochs begin the same"


def test_epochs_and_seeds_shuffle_differently() -> None:
    data = offline(100, size=100)
    assert data(0) != data(1)
    assert data(0) != list(range(100))
    assert data(0) != offline(100, size=100, seed=1)(0)


def test_a_step_beyond_the_end_is_not_asked_for_by_the_loop() -> None:
    assert offline(10, epochs=1).steps == 3


def test_it_keeps_no_state() -> None:
    data = offline()
    assert data.state_dict() == {}
    data.load_state_dict({})


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"there are no records to train on"):
        offline(0)
    with pytest.raises(ValueError, match=r"size and epochs must be >= 1, got 0 and 3"):
        offline(size=0)
    with pytest.raises(ValueError, match=r"size and epochs must be >= 1, got 4 and 0"):
        offline(epochs=0)
