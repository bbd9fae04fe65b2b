"""What people look at after training: activation maps, features, mistakes, schedules, the reuse of features.

A module per subject; tools/visualize.py draws from them.
"""
