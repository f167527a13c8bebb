"""Adapting a model to a few objects of somebody's own images."""
