"""Read what a server tells Prometheus."""

from dataclasses import dataclass
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class Series:
    """All series at one moment.

    Attributes:
        values: By name and labels, such as `omniasr_drops_total{what="late_window"}`.
    """

    values: dict[str, float]

    @classmethod
    def parse(cls, text: str) -> "Series":
        values = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                pairs = sorted(sample.labels.items())
                labels = ",".join(f'{name}="{value}"' for name, value in pairs)
                name = sample.name + (f"{{{labels}}}" if labels else "")
                values[name] = sample.value
        return cls(values)

    @classmethod
    def of(cls, url: str) -> "Series":
        with urlopen(url + "/metrics") as response:
            return cls.parse(response.read().decode())

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    def since(self, before: "Series") -> dict[str, float]:
        """Return what has changed, and by how much."""
        return {
            name: value - before.values.get(name, 0.0)
            for name, value in self.values.items()
            if value != before.values.get(name, 0.0)
        }


def resumed(url: str) -> float:
    """Return how many sessions of a server went on after a lost connection."""
    return Series.of(url)['omniasr_lost_connections_total{what="resumed"}']
