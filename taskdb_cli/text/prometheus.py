"""Prometheus' text format, as node_exporter's textfile collector reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

Samples = Sequence[tuple[Mapping[str, str], float]]
"""Values with the labels of each. All samples of a gauge have labels of the same names, or none."""


def gauges(families: Iterable[tuple[str, str, Samples]]) -> str:
    """Return gauges in the text format: each has a name, a help text and samples.

    A gauge without samples is left out.
    """
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    for name, help, samples in families:
        if samples:
            gauge = Gauge(name, help, list(samples[0][0]), registry=registry)
            for labels, value in samples:
                (gauge.labels(**labels) if labels else gauge).set(value)
    return generate_latest(registry).decode()
