"""Pictures of a trained model: activation maps, features, errors, schedules, feature reuse; one module for each."""
