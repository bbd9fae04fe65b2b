"""From images to a model that one can answer for."""
