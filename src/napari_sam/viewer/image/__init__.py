"""The image that is annotated: which layer, which plane, which pixels."""
