"""The switch of the active arm, on projects where it is known whether that arm helps (simulated answers)."""

import math

import numpy as np
import pytest

from tercih.feedback.rehearsal import ARMS, planted
from tercih.feedback.trial import FINAL, FIRST, Trial, trial

STANDS = Trial(gain=0.1, low=-0.1, high=0.3, share=0.2, share_low=-0.3, share_high=0.5, sees=0.3, labels=FIRST)


def stays_on(arm: str, seed: int, most: int = FINAL) -> bool:
    """Through every look, as the worker does: who is dropped collects no more labels."""
    phi_ND, target_N, active_N = planted(arm, seed, math.ceil(most * 5 / 4))
    for labels in (FIRST, 2 * FIRST, FINAL):
        until = 2 * math.ceil(labels * 5 / 4)
        found = trial(phi_ND[:until], target_N[:until], active_N[:until])
        assert found is not None
        assert found.labels == labels
        if not found.pays:
            return False
    return True


def test_an_arm_that_helps_stays_on() -> None:
    assert sum(stays_on("helps", seed) for seed in range(4)) >= 3


@pytest.mark.parametrize("arm", ["random", "alike", "noise"])
def test_an_arm_that_does_not_help_is_dropped(arm: str) -> None:
    """At most 2.5 % of them stay on; of eight, two would be one in sixty."""
    assert sum(stays_on(arm, seed) for seed in range(8)) <= 1


def test_looks_come_at_doublings_and_later_answers_do_not_change_one() -> None:
    phi_ND, target_N, active_N = planted("helps", 0, 240)
    none = trial(phi_ND[:240], target_N[:240], active_N[:240])
    first, again = (trial(phi_ND[:n], target_N[:n], active_N[:n]) for n in (260, 470))
    assert none is None
    assert first is not None
    assert again is not None
    assert (first.labels, again.labels) == (FIRST, FIRST)
    assert first == again
    assert not first.final


def test_a_sure_gain_is_needed_in_the_end_and_a_likely_one_before() -> None:
    from dataclasses import replace

    assert STANDS.pays
    assert not replace(STANDS, gain=-0.01).pays
    assert not replace(STANDS, labels=FINAL).pays
    assert replace(STANDS, labels=FINAL, low=0.01).pays


def test_what_it_would_see_shrinks_with_more_labels() -> None:
    seen = []
    for labels in (FIRST, FINAL):
        found = [trial(*planted("random", seed, math.ceil(labels * 5 / 4))) for seed in range(3)]
        seen.append(np.nanmean([each.sees for each in found if each]))
    assert 0 < seen[1] < seen[0] < 1


def test_where_random_labels_teach_nothing_no_share_is_named() -> None:
    found = [trial(*planted("noise", seed, 125)) for seed in range(6)]
    assert any(each and math.isnan(each.share) for each in found)


def test_a_trial_refuses_unequal_lengths() -> None:
    with pytest.raises(ValueError, match="equal lengths"):
        trial(np.zeros((3, 2)), np.zeros(3), np.zeros(2, dtype=bool))


def test_the_plants_are_those_named() -> None:
    assert ARMS == ("helps", "faint", "random", "alike", "noise")
    with pytest.raises(ValueError, match="no arm"):
        planted("clever", 0, 10)
