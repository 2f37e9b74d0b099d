"""Prometheus' text format, as node_exporter's textfile collector reads it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

Samples = Sequence[tuple[Mapping[str, str], float]]
"""Values with the labels of each. All samples of a gauge have the same labels in the same order, or none."""


class _Families(list[Any]):
    """Finished families. A `Gauge` would write files where PROMETHEUS_MULTIPROC_DIR is set."""

    def collect(self) -> Self:
        return self


def gauges(families: Iterable[tuple[str, str, Samples]]) -> str:
    """Return gauges in the text format, from a name, a help text and samples each; skip empty ones."""
    from prometheus_client import generate_latest
    from prometheus_client.core import GaugeMetricFamily

    finished = _Families()
    for name, help, samples in families:
        if samples:
            finished.append(family := GaugeMetricFamily(name, help, labels=list(samples[0][0])))
            for labels, value in samples:
                family.add_metric(list(labels.values()), value)
    return generate_latest(finished).decode()
