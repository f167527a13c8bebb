"""The engine bound to a napari viewer, through napari's public API, without Qt."""
