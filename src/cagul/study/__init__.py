"""The role of visual tokens: maps, causal effects, stability."""
