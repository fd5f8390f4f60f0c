"""What is worked out once, on the host: pools, slots, groups of factors, programs. Nothing here changes in a run."""
