"""Memory that torch gave out of a GPU, in bytes: what `memory.py` says of the processor."""

import gc

import torch


def wait() -> None:
    """What was begun is over."""
    torch.cuda.synchronize()


def now() -> int:
    """What is held once everything that nobody needs has been given back."""
    gc.collect()
    return torch.cuda.memory_allocated()


def forget_peak() -> None:
    """Let `peak` begin anew."""
    torch.cuda.reset_peak_memory_stats()


def peak() -> int:
    """The highest since `forget_peak`."""
    return torch.cuda.max_memory_allocated()
