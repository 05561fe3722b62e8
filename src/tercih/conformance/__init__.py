"""What `tercih verify` runs: every method's proof under the name it is called by, one file each.

A proof takes a `Lab` and, as its second argument, the method it is about: the real one unless a test replaces it.
"""

from collections.abc import Callable

from tercih.conformance import (
    airl,
    apprenticeship,
    bc,
    best_of_n,
    beyond,
    bradley_terry,
    coach,
    cpl,
    dagger,
    dapo,
    dpo,
    dr_grpo,
    few_shot,
    from_preferences,
    gail,
    grpo,
    gspo,
    ipl,
    max_ent_irl,
    overrides,
    pebble,
    pessimistic_mle,
    plackett_luce,
    ppo,
    preference_transformer,
    request,
    rloo,
    sft,
    shaping,
    tamer,
)
from tercih.conformance.checks import Findings
from tercih.conformance.lab import Lab

PROOFS: dict[str, Callable[[Lab], Findings]] = {
    "sft": sft.prove,
    "bradley_terry": bradley_terry.prove,
    "plackett_luce": plackett_luce.prove,
    "ppo": ppo.prove,
    "rloo": rloo.prove,
    "grpo": grpo.prove,
    "dr_grpo": dr_grpo.prove,
    "dapo": dapo.prove,
    "gspo": gspo.prove,
    "dpo": dpo.prove,
    "best_of_n": best_of_n.prove,
    "from_preferences": from_preferences.prove,
    "bc": bc.prove,
    "dagger": dagger.prove,
    "gail": gail.prove,
    "airl": airl.prove,
    "max_ent_irl": max_ent_irl.prove,
    "apprenticeship": apprenticeship.prove,
    "pessimistic_mle": pessimistic_mle.prove,
    "tamer": tamer.prove,
    "coach": coach.prove,
    "shaping": shaping.prove,
    "overrides": overrides.prove,
    "beyond": beyond.prove,
    "cpl": cpl.prove,
    "ipl": ipl.prove,
    "preference_transformer": preference_transformer.prove,
    "few_shot": few_shot.prove,
    "pebble": pebble.prove,
    "request": request.prove,
}
