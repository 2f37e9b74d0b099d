"""Prometheus' text format, as node_exporter's textfile collector reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

Samples = Sequence[tuple[Mapping[str, str], float]]
"""Values with the labels of each. All samples of a gauge have labels of the same names, or none."""


@dataclass(frozen=True)
class _Collector:
    """Hands out finished families. A `Gauge` would write files where PROMETHEUS_MULTIPROC_DIR is set."""

    families: Iterable[tuple[str, str, Samples]]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        from prometheus_client.core import GaugeMetricFamily

        for name, help, samples in self.families:
            if samples:
                names = list(samples[0][0])
                family = GaugeMetricFamily(name, help, labels=names)
                for labels, value in samples:
                    family.add_metric([labels[each] for each in names], value)
                yield family


def gauges(families: Iterable[tuple[str, str, Samples]]) -> str:
    """Return gauges in the text format: each has a name, a help text and samples.

    A gauge without samples is left out.
    """
    from prometheus_client import generate_latest

    return generate_latest(_Collector(families)).decode()
