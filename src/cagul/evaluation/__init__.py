"""Evaluation: questions asked, metrics over rows, intervals over people."""
