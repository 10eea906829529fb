"""Training: one batch and one change of the weights, over and over, so that a run survives whatever stops it."""
