"""One page that shows a run: read and checked, redacted, drawn, and written whole. No torch here."""
