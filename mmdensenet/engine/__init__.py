"""What runs around a model: checkpoints, mixed precision, hooks, launching. Uses mmengine's extension points."""
