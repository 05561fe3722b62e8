"""What the benchmarks share: two programs that take turns, what their repetitions say, and the work they are given."""
