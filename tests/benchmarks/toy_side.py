"""A side without any library: it works as long as its case says, and prints where it should not."""

import time

from harness.turns import Turns, read_case

turns, case = Turns(), read_case()
held = b""
for step in range(100):
    print("a library greets its user")
    if step == case.get("breaks_at"):
        raise RuntimeError("the toy is broken")
    with open(case["diary"], "a") as diary:
        diary.write(case["name"])
    time.sleep(case["seconds"])
    held = b"x" * case.get("bytes", 0)
    facts = {"loss": case["loss"], "gradient_norm": 1.0, "step": step}
    del held
    turns(facts)
