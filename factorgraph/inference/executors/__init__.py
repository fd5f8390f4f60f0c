"""What runs a plan on a state: stage by stage, as fused kernels, by priority, or a forest in rounds."""
