"""What runs beside the window: the worker, its jobs, and what is said of them."""
