"""Words: refusals, and how they are detected."""
