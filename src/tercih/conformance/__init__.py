"""What `tercih verify` runs: every method's proof under the name it is called by, one file each.

A proof takes a `Lab` and, as its second argument, the method it is about: the real one unless a test replaces it.
"""

from collections.abc import Callable

from tercih.conformance import (
    best_of_n,
    bradley_terry,
    dapo,
    dpo,
    dr_grpo,
    grpo,
    gspo,
    pebble,
    plackett_luce,
    ppo,
    request,
    rloo,
    sft,
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
    "pebble": pebble.prove,
    "request": request.prove,
}
