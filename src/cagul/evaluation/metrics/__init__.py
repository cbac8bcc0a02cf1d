"""Figures of answers, likelihoods and gates."""
