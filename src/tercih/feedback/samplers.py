"""The names of what chooses questions: the random arm, and the rules of the active one (`acquisition.py`)."""

RULES = ("d_optimal", "bald", "variance", "double_thompson")
RANDOM = "random"
LEAST_RANDOM = 0.2
"""The smallest share of the random arm: what is evaluated without bias, and what the active arm is measured against."""
