"""Scores on text as it comes: estimates from some sequences against the exact value on all of them."""

from pathlib import Path

import numpy as np

from concepts import found_lists

REPEATS = 4


def measure(scratch: Path) -> dict[str, float]:
    """Bias, coverage and width of the estimates for predictions of real descriptions, lists of concepts executed on
    each of the 512 sequences of test, with the default settings."""
    from neuron_descriptions.config.scores import Natural
    from neuron_descriptions.scores.natural import draw
    from neuron_descriptions.scores.sampling import WIDER, Bootstrap, correlation, estimate, moments

    wanted, rows = Natural(), []
    for number, found in enumerate(found_lists(scratch)[1]):
        sums = moments(found.predicted, [t.astype(float) for t in found.true])
        exact = float(correlation(sums.sum(0)))
        if not np.isfinite(exact):
            continue
        for again in range(REPEATS):
            order = np.random.default_rng((number, again)).permutation(len(sums))
            places, sample = draw(found.true, wanted.certain, order[: wanted.sequences])
            random = np.random.default_rng((1, number, again))
            e = estimate(correlation, sums[places], sample, Bootstrap(500, 0.95, random))
            rows.append((e.value - exact, e.low - exact, e.high - exact))
    error, low, high = np.array(rows).T

    def covered(wider: float) -> float:
        return float(((error + wider * (low - error) <= 0) & (error + wider * (high - error) >= 0)).mean())

    return {
        "neuron_signs": len(rows) // REPEATS,
        "sequences": wanted.certain + wanted.sequences,
        "bias": float(np.nanmean(error)),
        "root_mean_square_error": float(np.sqrt(np.nanmean(error**2))),
        "half_width": float(np.nanmedian(WIDER * (high - low) / 2)),
        "coverage": covered(WIDER),
        "coverage_of_percentiles": covered(1.0),
    }
