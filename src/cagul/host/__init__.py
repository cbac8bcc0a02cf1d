"""The frozen host: how visual tokens and attention rows are reached in transformers, without touching a
weight.
"""
