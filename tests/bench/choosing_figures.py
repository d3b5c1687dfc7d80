"""Figures of section `choosing`, from its rows: what every arm chose for a neuron and sign, and what that took.

Candidates in rounds are reckoned from the same rows: eight are asked for first, and all fifty only where the choice is
still open. When it is open is fixed on the neurons of even number, and judged on the others.
"""

from collections.abc import Callable, Sequence
from math import isnan
from typing import Any

import numpy as np

from neuron_descriptions.atlas.comparison import Interval, mean_over_neurons

Rows = list[dict[str, Any]]
Count = Callable[[dict[str, Any]], float]
FIRST, KEEPS_GAIN = 8, 0.9  # candidates of the first round; share of what more candidates gain that a rule must keep
# Arms with fewer candidates: the design that these are of, how many they are, and in words.
FEWER = {
    "of_5_draws": ("50", 5, "5 of 5 draws"),
    "of_8": ("8", FIRST, "8 of 2 draws"),
    "of_8_draws": ("50", FIRST, "8 of 8 draws"),
    "of_16": ("16", 16, "16 of 4 draws"),
    "of_16_screened_4": ("16", 16, "16 of 4 draws, screened to 4"),
}
FEWEST = "of_5_draws"
TOKENS = ("explained_", "simulated_", "")  # shares of them: the explainer's, the large simulator's, both


def figures(rows: Rows, keeps: Sequence[int]) -> dict[str, float | str]:
    """Of rows with a choice: those that have two distinct candidates of fifty, or more. One where an arm with fewer has
    none counts for the other arms.

    Scores are contrast correlations; `lost` and `difference` are what an arm has less than the best of 50 by the full
    search of the large simulator; ends of intervals (95 %, over neurons) stand under `_low` and `_high`.
    """
    rows = [row for row in rows if distinct(row) > 1 and row["arms"]["of_50"]["description"]]
    found: dict[str, float | str] = {
        "rows": len(rows),
        "neurons": len({(row["layer"], row["neuron"]) for row in rows}),
        "distinct_of_50": float(np.mean([distinct(row) for row in rows])),
        "distinct_of_8": float(np.mean([distinct(row, "8") for row in rows])),
    }
    for arm in _fewer(rows):
        found |= fewer(rows, arm)
    found["best_of_50_score"] = mean(rows, lambda row: row["arms"]["of_50"]["test"])[0]
    named = [(1, "raced"), *((keep, f"screened_{keep}{raced}") for keep in keeps for raced in ("", "_raced"))]
    for keep, arm in named:
        if all(arm in row["arms"] for row in rows):
            found |= race([row for row in rows if distinct(row) > keep], arm)
    return found | rounds(rows)


def _fewer(rows: Rows) -> list[str]:
    """Arms with fewer candidates that all rows have."""
    return [arm for arm in FEWER if all(arm in row["arms"] for row in rows)]


def fewer(rows: Rows, arm: str) -> dict[str, float]:
    """What an arm with fewer candidates takes and loses, and what it gains on the one with the fewest."""
    design, first, _ = FEWER[arm]
    name = f"best_{arm}"
    found: dict[str, float] = {f"{name}_rows": sum(row["arms"][arm].get("test") is not None for row in rows)}
    found[f"{name}_score"] = mean(rows, lambda row: row["arms"][arm].get("test"))[0]
    found |= ends(f"{name}_difference", mean(rows, lambda row: lost(row, arm, "test")))
    found |= ends(f"{name}_difference_valid", mean(rows, lambda row: lost(row, arm, "valid")))
    parts: dict[str, tuple[Count, Count]] = {
        "explained_": (lambda row: explained(row, design, first), lambda row: explained(row, "50")),
        "simulated_": (lambda row: row["arms"][arm]["large"], lambda row: row["arms"]["of_50"]["large"]),
        "": (lambda row: explained(row, design, first) + row["arms"][arm]["large"], everything),
    }
    found |= {f"{name}_{kind}tokens_share": share(rows, *counts) for kind, counts in parts.items()}
    if arm != FEWEST and FEWEST in _fewer(rows):
        found |= ends(f"{name}_gain", mean(rows, lambda row: lost(row, FEWEST, "test", arm)))
    return found


def distinct(row: dict[str, Any], design: str = "50") -> int:
    """Different descriptions of a row's candidates."""
    return len({said for said in row["said"][design] if said})


def lost(row: dict[str, Any], arm: str, split: str, other: str = "of_50") -> float | None:
    """What an arm's choice has less than another's, the full search's; None where either has no number on a split."""
    ours, theirs = row["arms"][arm].get(split), row["arms"][other].get(split)
    return None if ours is None or theirs is None else theirs - ours


def explained(row: dict[str, Any], design: str, first: int | None = None) -> int:
    """Tokens that the explainer read and wrote for a design's candidates, or the first of them."""
    return sum(row["explained"][design][:first])


def everything(row: dict[str, Any]) -> int:
    """Tokens of all 50 candidates: explained, and simulated by the full search."""
    return explained(row, "50") + row["arms"]["of_50"]["large"]


def mean(rows: Rows, value: Callable[[dict[str, Any]], float | None]) -> Interval:
    """Over rows, with the interval of resampled neurons."""
    return mean_over_neurons([value(row) for row in rows], [(row["layer"], row["neuron"]) for row in rows])


def share(rows: Rows, part: Count, whole: Count) -> float:
    """Sum of one over that of the other; NaN without rows."""
    return sum(map(part, rows)) / sum(map(whole, rows)) if rows else float("nan")


def ends(name: str, found: Interval) -> dict[str, float]:
    """A mean and the ends of its interval, as figures."""
    return {name: found[0], f"{name}_low": found[1], f"{name}_high": found[2]}


def race(rows: Rows, arm: str) -> dict[str, float]:
    """How often an arm that sorts candidates out chooses as the full search, what it takes, and what it loses."""
    same = [row["arms"][arm]["description"] == row["arms"]["of_50"]["description"] for row in rows]
    other = [row for row, equal in zip(rows, same) if not equal]
    return {
        f"{arm}_rows": len(rows),
        **ends(f"{arm}_same_choice", mean_over_neurons(same, [(row["layer"], row["neuron"]) for row in rows])),
        f"{arm}_large_tokens_share": share(
            rows, lambda row: row["arms"][arm]["large"], lambda row: row["arms"]["of_50"]["large"]
        ),
        f"{arm}_small_tokens_share": share(
            rows, lambda row: row["arms"][arm]["small"], lambda row: row["arms"]["of_50"]["large"]
        ),
        f"{arm}_lost_where_other": mean(other, lambda row: lost(row, arm, "valid"))[0],
        f"{arm}_most_lost": max((lost(row, arm, "valid") or 0.0 for row in other), default=0.0),
        f"{arm}_lost": mean(rows, lambda row: lost(row, arm, "valid"))[0],
        **ends(f"{arm}_lost_on_test", mean(rows, lambda row: lost(row, arm, "test"))),
    }


def table(found: dict[str, Any], keeps: Sequence[int], prefix: str = "") -> list[str]:
    """Lines of Markdown: what each way to choose takes and loses. found: figures, whose names begin with `prefix`."""

    def interval(name: str) -> str:
        if prefix + name not in found:
            return ""
        mean, low, high = (found[f"{prefix}{name}{end}"] for end in ("", "_low", "_high"))
        return f"{mean:.3f} ({low:.3f} to {high:.3f})"

    def where_other(one: dict[str, Any]) -> str:
        mean = one["lost_where_other"]
        return "none other" if isnan(mean) else f"{mean:.3f}, {one['most_lost']:.3f}"

    lines = [
        f"{found[prefix + 'rows']} rows of {found[prefix + 'neurons']} neurons; best of 50, on test:"
        f" {found[prefix + 'best_of_50_score']:.3f}",
        "",
        "| candidates | rows | score on test | less than the best of 50 | more than the best of 5 |"
        " tokens, of 50's: explained, simulated, both |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for arm, (_, _, name) in FEWER.items():
        best = f"best_{arm}"
        if f"{prefix}{best}_score" not in found:
            continue
        tokens = ", ".join(f"{found[f'{prefix}{best}_{kind}tokens_share']:.2f}" for kind in TOKENS)
        lines.append(
            f"| {name} | {found[f'{prefix}{best}_rows']} | {found[f'{prefix}{best}_score']:.3f}"
            f" | {interval(f'{best}_difference')} |"
            f" {interval(f'{best}_gain')} | {tokens} |"
        )
    lines += [
        "",
        "| choosing of 50 | rows | same choice | tokens of the large one; of the small one"
        " | lost where another, and most | lost on test |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for arm in ("raced", *(f"screened_{keep}{raced}" for keep in keeps for raced in ("", "_raced"))):
        if f"{prefix}{arm}_rows" in found:
            one = {name.removeprefix(f"{prefix}{arm}_"): value for name, value in found.items()}
            lines.append(
                f"| {arm.replace('_', ' ')} | {one['rows']} | {interval(arm + '_same_choice')}"
                f" | {one['large_tokens_share']:.3f}; {one['small_tokens_share']:.2f}"
                f" | {where_other(one)} | {interval(arm + '_lost_on_test')} |"
            )
    rounds = {name: value for name, value in found.items() if name.startswith(f"{prefix}rounds_")}
    return [
        *lines,
        "",
        *(f"* {name}: {value if isinstance(value, str) else f'{value:.3g}'}" for name, value in rounds.items()),
    ]


# --- candidates in rounds ----------------------------------------------------------------------------


def _first(row: dict[str, Any]) -> list[float]:
    """Valid correlations of the distinct descriptions of the first round, the best first."""
    found = dict(zip(row["said"]["50"][:FIRST], row["valid"][:FIRST]))
    return sorted((r for said, r in found.items() if said and r is not None), reverse=True)


# Rule -> how open a choice is, after the first round: the more, the sooner more candidates are asked for.
RULES: dict[str, Callable[[dict[str, Any]], float]] = {
    "best_is_low": lambda row: -_first(row)[0],
    "best_two_are_close": lambda row: -(_first(row)[0] - _first(row)[1]) if len(_first(row)) > 1 else 0.0,
    "candidates_differ": lambda row: float(len(_first(row))),
}


def rounds(rows: Rows) -> dict[str, float | str]:
    """What asking in two rounds takes and loses. The rule and its bound are those that ask again in the fewest rows of
    the even neurons and keep KEEPS_GAIN of what the valid correlation gains there by all candidates."""
    rows = [row for row in rows if _first(row)]
    tuned, judged = ([row for row in rows if row["neuron"] % 2 == odd] for odd in (0, 1))
    if not tuned or not judged:
        return {}
    (asked, rule), bound = min(_bounds(tuned).items())
    again = [RULES[rule](row) >= bound for row in judged]
    arms = ["of_50" if more else "of_8_draws" for more in again]
    pairs = list(zip(judged, arms))
    neurons = [(row["layer"], row["neuron"]) for row in judged]
    gained = mean(judged, lambda row: lost(row, "of_8_draws", "test"))
    left = mean_over_neurons([lost(row, arm, "test") for row, arm in pairs], neurons)
    took = sum(everything(r) if a == "of_50" else explained(r, "50", FIRST) + r["arms"][a]["large"] for r, a in pairs)
    asked_again = float(np.mean(again))
    return {
        "rounds_rule": rule,
        "rounds_bound": -bound if rule != "candidates_differ" else bound,
        "rounds_rows": len(judged),
        "rounds_asked_again_when_tuned": asked,
        "rounds_asked_again": asked_again,
        "rounds_tokens_share": took / sum(map(everything, judged)),
        **ends("rounds_lost_on_test", left),
        "rounds_gain_on_test": gained[0] - left[0],
        # As many rows again, drawn by chance.
        "rounds_gain_on_test_by_chance": asked_again * gained[0],
        "rounds_all_again_gain_on_test": gained[0],
    }


def _bounds(rows: Rows) -> dict[tuple[float, str], float]:
    """(share of the rows that are asked again, rule) -> bound from which a choice is open, of each rule the first
    bound that keeps enough of the gain."""
    gains = np.array([lost(row, "of_8_draws", "valid") or 0.0 for row in rows])
    found = {}
    for rule, openness in RULES.items():
        open_R = np.array([openness(row) for row in rows])
        for bound in sorted(set(open_R.tolist()), reverse=True):
            if gains[open_R >= bound].sum() >= KEEPS_GAIN * gains.sum():
                found[float((open_R >= bound).mean()), rule] = bound
                break
    return found
