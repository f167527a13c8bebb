"""The engine: planes, prompts, masks and stores; numpy and scikit-image only."""
