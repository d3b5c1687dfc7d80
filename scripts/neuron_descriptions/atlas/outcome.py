"""What came out of a run, in a few lines for the terminal."""

from pathlib import Path
from statistics import median

from neuron_descriptions.common.storage import read_parquet


def outcome(folder: str, minutes: float) -> str:
    """Rows, scores, chance, cost and minutes of a run, and where its files are; empty where it has no atlas here.

    folder: the run's, as results/demo.
    """
    atlas = Path(folder, "atlas")
    if not (atlas / "atlas.parquet").is_file():
        return ""
    table = read_parquet(atlas / "atlas.parquet")
    simulated = "score_contrast" in table.schema.names
    scores, contrast, chance = (
        table[name].drop_null().to_pylist() if simulated else [] for name in ("score", "score_contrast", "chance")
    )
    described = len(table["description"].drop_null())
    said = [
        f"{len(table):,} rows, "
        + (f"{len(contrast):,} scored" if simulated else f"{described:,} described")
        + (f"; median score {median(scores):.2f} on text as it comes" if scores else "")
        + (f", {median(contrast):.2f} on the contrast sequences" if contrast else "")
    ]
    direct = table["direct_score_contrast"].drop_null().to_pylist() if not simulated else []
    if direct:
        said.append(f"median direct score {median(direct):.2f} on the contrast sequences")
    if chance:
        beat, not_shown, at_chance = (chance.count(state) for state in ("beats chance", "not shown", "at chance"))
        share = f"{100 * beat / len(chance):.0f} %"
        said.append(f"{beat:,} beat chance ({share}), {not_shown:,} not shown to, {at_chance:,} at chance")
    if cost := _cost(atlas / "accounting.parquet"):
        said.append(cost)
    said.append(f"{minutes:.0f} minutes" if minutes >= 1.5 else f"{60 * minutes:.0f} seconds")
    files = {
        "index.html": "the atlas as a page: open it in a browser",
        "atlas.parquet": "as a table",
        "scores.svg": "the scores, drawn",
        "provenance.json": "what it was made with",
    }
    lines = [f"  {atlas / name}  {words}" for name, words in files.items() if (atlas / name).is_file()]
    return "\n".join(["; ".join(said) + ".", *lines])


def _cost(accounts: Path) -> str:
    if not accounts.is_file():
        return ""
    costs = read_parquet(accounts, columns=["layer", "cost"]).to_pylist()
    total = next((row["cost"] for row in costs if row["layer"] is None), None)
    return "" if total is None else f"${total:.2f}"
