"""Everything mode without a window: where to ask, what to keep, what was found."""
