"""What `tercih profile` measures: where time and memory go, how near to the machine's limits, and what to change."""
