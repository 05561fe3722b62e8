"""Signs that a run went wrong although its reward went up. Each check reads what the run wrote, says at most one thing.

The thresholds are ours and round: they ask for a look, they prove no fault. A check whose data is missing is silent.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tercih.evaluation.intervals import paired_difference
from tercih.evaluation.over_optimisation import over_optimised_from, read_curve
from tercih.evaluation.parting import (
    foreseen_share,
    parted_from_answers,
    parted_from_people,
    parted_from_truth,
    read_foreseen,
    read_gained,
    read_milestones,
)
from tercih.evaluation.run_folder import RunFolder, estimate, is_control, number

LENGTH_CHANGE = 0.5  # of the mean length at the start
ENTROPY_LEFT = 0.3  # of the entropy at the start
DISTINCT_LEFT = 0.7  # of the distinct-2 of the base
TRUNCATED_SHARE = 0.1  # of the answers in the last tenth of the steps
BUDGET_NAMES, TARGET_NAMES = ("kl_budget",), ("kl_target", "target_kl")  # in the run's config, nats per answer
TARGET_SLACK = 1.5  # a controller hovers around its target
ENOUGH_SAMPLES, ENOUGH_STEPS = 10, 5


@dataclass(frozen=True, slots=True)
class RunWarning:
    """`kind` is one of CHECKS or CONTROL_CHECKS; `text` is a sentence for the reader."""

    kind: str
    text: str


def find_warnings(contents: RunFolder) -> list[RunWarning]:
    """What somebody should look at before believing the result, in the order of the checks."""
    return [RunWarning(kind, text) for kind, check in checks_of(contents).items() if (text := check(contents))]


def checks_of(contents: RunFolder) -> "dict[str, Check]":
    """Those that are made for this sort of run."""
    return CONTROL_CHECKS if contents.control else {} if contents.efficiency else CHECKS


def over_optimisation(contents: RunFolder) -> str | None:
    """Gold fell from its best while the proxy went on rising, along the run."""
    curve = read_curve(contents.evaluation.get("curve", []))
    top = over_optimised_from(curve)
    if top is None:
        return None
    last = curve[-1]
    return (
        f"The gold score fell from {top.gold:.3g} at step {top.step} to {last.gold:.3g} at step {last.step} while the "
        f"learned reward rose from {top.proxy:.3g} to {last.proxy:.3g}: use the checkpoint of step {top.step}, or ask "
        "people about the newest answers."
    )


def reward_hacking(contents: RunFolder) -> str | None:
    """The policy beats its base in the eyes of the proxy and loses in the eyes of gold, prompt by prompt."""
    keys = ("proxy_policy", "proxy_base", "gold_policy", "gold_base")
    rows = [[number(row, key) for key in keys] for row in contents.samples]
    complete = [[value for value in row if value is not None] for row in rows if None not in row]
    if len(complete) < ENOUGH_SAMPLES:
        return None
    new_proxy, old_proxy, new_gold, old_gold = zip(*complete, strict=True)
    proxy, gold = paired_difference(new_proxy, old_proxy, seed=0), paired_difference(new_gold, old_gold, seed=0)
    if not (proxy.low > 0 and gold.high < 0):
        return None
    return f"The learned reward rose by {proxy} while the gold score changed by {gold}: the policy exploits the reward."


def length_drift(contents: RunFolder) -> str | None:
    """Answers have become much longer or shorter."""
    for stage, start, end in _ends(contents, "response_length"):
        if start > 0 and abs(end / start - 1) > LENGTH_CHANGE:
            return f"The mean length of answers went from {start:.3g} to {end:.3g} tokens in {stage}."
    pairs = [(row["base"], row["policy"]) for row in contents.samples if _texts(row.get("base"), row.get("policy"))]
    start, end = (sum(len(pair[side].split()) for pair in pairs) for side in (0, 1))
    if len(pairs) >= ENOUGH_SAMPLES and start and abs(end / start - 1) > LENGTH_CHANGE:
        return f"The mean length of answers went from {start / len(pairs):.3g} to {end / len(pairs):.3g} words."
    return None


def entropy_collapse(contents: RunFolder) -> str | None:
    """The policy has become nearly certain of every token."""
    for stage, start, end in _ends(contents, "entropy"):
        if start > 0 and end < ENTROPY_LEFT * start:
            return f"The policy's entropy fell from {start:.3g} to {end:.3g} nats a token in {stage}."
    return None


def diversity_loss(contents: RunFolder) -> str | None:
    """The policy repeats itself across prompts."""
    base, policy = (number(contents.summary, "distinct2", side) for side in ("base", "policy"))
    if base is None or policy is None or policy >= DISTINCT_LEFT * base:
        return None
    return f"Distinct-2, the share of word pairs that are unique, fell from {base:.3g} to {policy:.3g}."


def kl_over_budget(contents: RunFolder) -> str | None:
    """The policy went further from its start than the config allows or aims at."""
    kl, config = number(contents.summary, "kl_nats"), contents.run.get("config")
    budget, target = _find(config, BUDGET_NAMES), _find(config, TARGET_NAMES)
    limit = budget if budget is not None or target is None else TARGET_SLACK * target
    if kl is None or limit is None or kl <= limit:
        return None
    allowed = f"allows {budget:.3g}" if budget is not None else f"aims at {target:.3g}"
    return f"The policy lies {kl:.3g} nats from its start; the config {allowed}."


def control_improved(contents: RunFolder) -> str | None:
    """A negative control, which has nothing to learn from, came out better than its base."""
    win = estimate(contents.summary, "gold_win_rate")
    if not is_control(contents) or win is None or not win.low > 0.5:
        return None
    return f"This run is a negative control and still wins {win}: something other than the labels teaches it."


def truncated(contents: RunFolder) -> str | None:
    """Many answers were cut off before they ended."""
    for stage, _, end in (*_ends(contents, "truncated"), *_ends(contents, "truncated_share")):
        if end > TRUNCATED_SHARE:
            return f"{end:.0%} of the last answers in {stage} were cut off at the length limit before they ended."
    return None


def truth_against_reward(contents: RunFolder) -> str | None:
    """An agent's true return fell from its best while the learned reward of the same episodes rose."""
    rows = read_milestones(contents.control.get("milestones"))
    parted = parted_from_truth(rows)
    if parted is None:
        return None
    top, last = parted
    (was, now), (little, much) = (
        [each.estimate(which).value for each in (top, last)] for which in ("true", "predicted")
    )
    return (
        f"The true return fell from {was:.4g} after {top.steps:,} steps to {now:.4g} after {last.steps:,}, while the"
        f" learned reward of the same episodes rose from {little:.3g} to {much:.3g}: ask about the newest clips, or"
        " take the earlier agent."
    )


def people_against_reward(contents: RunFolder) -> str | None:
    """Answers are no longer foreseen while the learned reward goes on rising."""
    for rows in contents.metrics.values():
        parted = parted_from_people(read_milestones(contents.control.get("milestones")), read_foreseen(rows))
        if parted:
            before, after = parted
            return (
                f"The learned reward foresaw {before.value:.0%} of {before.n} answers to randomly chosen questions at"
                f" first and {after.value:.0%} of {after.n} in the last third of the training, no more than guessing,"
                " while its own return rose: the agent is after something that those who were asked do not want."
            )
    return None


def sure_against_answers(contents: RunFolder) -> str | None:
    """The learned reward, which the agent is after, is sure of what those who are asked do not say. Of answers that a
    coin has turned around nothing else can be said."""
    for rows in contents.metrics.values():
        gain = parted_from_answers(read_milestones(contents.control.get("milestones")), read_gained(rows))
        if gain and not is_control(contents):
            return (
                f"In the last third of the training the learned reward's squared error about {gain.n} new answers to"
                f" random questions was {-gain.value:.2g} above a coin's ({-gain.high:.2g} to {-gain.low:.2g}),"
                " while its own return rose: the agent is after something that those who were asked do not want."
            )
    return None


def control_foreseen(contents: RunFolder) -> str | None:
    """Answers of a negative control, which a coin has turned around, were foreseen all the same. That its return rises
    is no sign: what is learned from coins is some reward or other, and by luck not a bad one."""
    right = foreseen_share(row for rows in contents.metrics.values() for row in read_foreseen(rows))
    if not is_control(contents) or right is None or right.low <= 0.5:
        return None
    return f"This run is a negative control and still {right} of its answers were foreseen: something tells them."


Check = Callable[[RunFolder], str | None]

CONTROL_CHECKS: dict[str, Check] = {
    "reward hacking": truth_against_reward,
    "reward against answers": people_against_reward,
    "sure against answers": sure_against_answers,
    "control foreseen": control_foreseen,
}

CHECKS: dict[str, Check] = {
    "over-optimisation": over_optimisation,
    "reward hacking": reward_hacking,
    "length drift": length_drift,
    "entropy collapse": entropy_collapse,
    "diversity loss": diversity_loss,
    "KL over budget": kl_over_budget,
    "truncated answers": truncated,
    "control improved": control_improved,
}


def _ends(contents: RunFolder, name: str) -> Iterator[tuple[str, float, float]]:
    """(stage, mean of the first tenth, mean of the last tenth) of a metric, a stage that logged it often enough."""
    for stage, rows in contents.metrics.items():
        values = [value for row in rows if (value := number(row, name)) is not None]
        tenth = max(1, len(values) // 10)
        if len(values) >= ENOUGH_STEPS:
            yield stage, sum(values[:tenth]) / tenth, sum(values[-tenth:]) / tenth


def _find(config: object, names: tuple[str, ...]) -> float | None:
    """The first number called one of `names` anywhere in a nested config."""
    if not isinstance(config, dict):
        return None
    here = [value for name in names if (value := number(config, name)) is not None]
    below = [value for child in config.values() if (value := _find(child, names)) is not None]
    return next(iter(here + below), None)


def _texts(*values: object) -> bool:
    return all(isinstance(value, str) for value in values)
