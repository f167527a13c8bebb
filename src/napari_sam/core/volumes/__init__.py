"""Objects through the planes of a stack or of a time-lapse."""
