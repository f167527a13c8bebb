"""Segment Anything inside napari, for people who annotate microscopy images."""
