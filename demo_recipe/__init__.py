"""How the demo is made: drawn people, invented facts, the vision tower and both hosts, from nothing but
seeds.
"""
