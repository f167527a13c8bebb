"""Prompts in, masks out: the objects under way."""
