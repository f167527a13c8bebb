"""Training runs: a recipe, its state, and the model that comes of it."""
