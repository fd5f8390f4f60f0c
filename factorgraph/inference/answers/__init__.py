"""What is read off a state at the end of a run."""
