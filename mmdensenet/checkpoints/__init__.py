"""Checkpoints: reading them as data, writing them atomically, verifying, keeping and finding them."""
