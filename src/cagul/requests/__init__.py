"""Deletion requests as they arrive: a store, enrolment in the gate, verification, revocation, certificates."""
