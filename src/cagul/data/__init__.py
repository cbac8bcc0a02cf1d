"""Records: one image, one question, one answer about one subject."""
