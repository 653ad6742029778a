"""Summarise measurements, and say how far they can be trusted.

The words of an utterance share its speaker, its noise and its windows, so they are
not independent: confidence intervals come from a bootstrap over utterances, each
drawn with all that was measured in it.

Source: Efron 1979, percentile bootstrap; of clusters, Field and Welsh 2007.
Pure: no I/O or clock; random numbers come from a fixed seed.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], float]

_N_DRAWS = 400
_SEED = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """Values of one kind; None where there are none."""

    n: int
    mean: Estimate | None
    p50: Estimate | None
    p95: Estimate | None
    p99: Estimate | None


def percentile(q: float) -> Statistic:
    return lambda values: float(np.percentile(values, q))


def mean(values: Floats) -> float:
    return float(values.mean())


def distribution(utterances: Iterable[Sequence[float]]) -> Distribution:
    """Describe values that were measured in some utterances.

    Args:
        utterances: The values of each utterance; some may have none.
    """
    groups = [np.asarray(values, np.float64) for values in utterances if len(values)]
    if not groups:
        return Distribution(0, None, None, None, None)
    statistics = (mean, percentile(50), percentile(95), percentile(99))
    draws = np.array(
        [[statistic(drawn) for statistic in statistics] for drawn in _resampled(groups)]
    )
    pooled = np.concatenate(groups)
    estimates = [
        _estimate(statistic(pooled), draws[:, k])
        for k, statistic in enumerate(statistics)
    ]
    return Distribution(len(pooled), *estimates)


def ratio(utterances: Iterable[tuple[float, float]]) -> Estimate | None:
    """Divide the sum of numerators by that of denominators; None if that is 0.

    Args:
        utterances: Numerator and denominator of each utterance.
    """
    pairs = np.array(list(utterances), np.float64).reshape(-1, 2)
    total = pairs.sum(axis=0)
    if not total[1]:
        return None
    rng = np.random.default_rng(_SEED)
    chosen = rng.integers(0, len(pairs), (_N_DRAWS, len(pairs)))
    sums = pairs[chosen].sum(axis=1)
    drawn = sums[sums[:, 1] > 0]
    return _estimate(total[0] / total[1], drawn[:, 0] / drawn[:, 1])


def _resampled(groups: Sequence[Floats]) -> Iterable[Floats]:
    rng = np.random.default_rng(_SEED)
    for _ in range(_N_DRAWS):
        chosen = rng.integers(0, len(groups), len(groups))
        yield np.concatenate([groups[index] for index in chosen])


def _estimate(value: float, draws: Floats) -> Estimate:
    low, high = np.percentile(draws, (2.5, 97.5)) if len(draws) else (math.nan,) * 2
    return Estimate(float(value), float(low), float(high))
