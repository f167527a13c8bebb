"""Learning from the user's own labels."""
