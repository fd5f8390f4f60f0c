"""All that changes in a run: evidence, priors, potentials, messages, beliefs; and how it is copied, saved and shared."""
