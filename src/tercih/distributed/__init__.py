"""Several processes as one: ranks and sums that are the identity alone, sharded weights, pools of workers."""
