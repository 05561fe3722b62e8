"""Control agents: learners that act in environments, and what they learn from."""
