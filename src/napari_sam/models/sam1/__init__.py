"""SAM's networks, as of 2023, and how they are asked."""
