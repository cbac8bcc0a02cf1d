"""Words: refusals, and how text is matched."""
