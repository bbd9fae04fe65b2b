"""Checkpoints: read as data, written whole, verified, kept and found in a work directory."""
