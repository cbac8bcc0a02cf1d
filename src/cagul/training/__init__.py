"""Training a patch: gate, encoder, and what they need."""
