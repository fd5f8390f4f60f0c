"""When a run ends, and how it is damped on the way."""
