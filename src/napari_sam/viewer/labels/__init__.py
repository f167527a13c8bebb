"""Objects in the user's Labels layer: what is written, how it is undone."""
