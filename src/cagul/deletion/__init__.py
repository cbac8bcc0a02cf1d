"""Deletion requests: store, enrolment, verification, certificates."""
