"""The patch, the guard that serves it, and the self-check of a host."""
