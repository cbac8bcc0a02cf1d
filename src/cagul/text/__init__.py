"""Words: how texts are made alike, terms found in them, and refusals recognised."""
