"""What `gpu.py` runs: checks against float64 on the processor, and times beside the machine's limits."""
