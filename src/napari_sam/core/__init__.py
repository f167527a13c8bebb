"""Planes, prompts, masks, stores and volumes: without torch, napari and Qt."""
