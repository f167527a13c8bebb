"""Objects through a stack or through time, in the viewer."""
