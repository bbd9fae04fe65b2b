"""What runs around a model in training: loops, hooks, random numbers, mixed precision, launching."""
