"""Attacks on a guard: each asks host, guard and a host that never knew for the forgotten's facts."""
