"""Prometheus metrics of all workers: counts and times. Nothing about who was asked for, and not whether the
gate fired: whoever may read that beside an own question knows who is enrolled.
"""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess

from cagul.serving.options import METRICS_FOLDER

SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Metrics:
    """The numbers of one worker; with the variable METRICS_FOLDER set before the import, ``page`` shows those
    of all.
    """

    def __init__(self) -> None:
        own = CollectorRegistry()
        self._registry = own
        self.requests = Counter(
            "cagul_requests", "Requests by path and status.", ("path", "status"), registry=own
        )
        self.seconds = Histogram(
            "cagul_request_seconds", "Time of a request.", ("path",), buckets=SECONDS, registry=own
        )
        self.tokens = Counter("cagul_tokens", "Tokens of prompts and answers.", ("kind",), registry=own)
        self.pictures = Counter("cagul_pictures", "Pictures that passed the gate.", registry=own)
        self.batch_rows = Histogram(
            "cagul_batch_rows", "Answers in one batch.", buckets=(1, 2, 4, 8, 16, 32), registry=own
        )
        self.batch_seconds = Histogram(
            "cagul_batch_seconds", "Time of one batch.", buckets=SECONDS, registry=own
        )
        self.failures = Counter(
            "cagul_guard_failures", "Batches that were refused because the guard failed.", registry=own
        )

    def page(self) -> bytes:
        registry = self._registry
        if os.environ.get(METRICS_FOLDER):
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
