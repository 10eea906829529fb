"""Training: batches, steps, schedules, checkpoints and the loop `fit`, which can be interrupted and resumed."""
