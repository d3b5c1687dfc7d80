"""What precision the money of a run buys: how wide the intervals of its scores are, and what narrower ones take."""

from math import sqrt

from neuron_descriptions.config.sections import Config
from neuron_descriptions.run.plans import Stage, short

# Half of a 95 % interval's width of `score`, the median, with 28 certain sequences and so many drawn of 256
# (docs/benchmarks.md, "Scores on text as it comes": lists of concepts). It falls with the root of those drawn.
HALF_WIDTH, MEASURED = 0.045, 48


def half_width(drawn: float) -> float:
    """Of an interval of `score`, about, by the sequences drawn for it."""
    return HALF_WIDTH * sqrt(MEASURED / drawn)


def precision(config: Config, stages: list[Stage], device: str) -> list[str]:
    """What intervals are to be expected and what they take, in lines; another precision's price is that of the stage
    `score_natural` by its sequences."""
    natural = config.scores.natural
    stage = next((s for s in stages if s.rule == "score_natural"), None)
    if natural is None or stage is None:
        return ["no panel, or no scores.natural: `score` is estimated from few sequences, with wide intervals"]
    price = config.plan.dollars_per_gpu_hour * (device == "GPU")
    certain = natural.certain + natural.likely
    each = stage.gpu_hours() / (certain + natural.sequences)  # of a sequence for every neuron and sign
    lines = []
    for factor in (0.5, 1, 4):
        drawn = round(natural.sequences * factor)
        hours = each * (certain + drawn)
        cost = f"{short(hours * price)} dollars" if price else f"{short(hours)} {device} hours"
        here = " (this run)" if factor == 1 else ""
        lines.append(f"a score's interval reaches about {half_width(drawn):.3f} to each side with {drawn} sequences"
                     f" drawn: {cost}{here}")  # fmt: skip
    more = natural.precision
    if more is not None:
        lines.append(f"scores.natural.precision {more:g}: up to {natural.most} are drawn where an interval is wider,"
                     " which is not reckoned above")  # fmt: skip
    return lines
