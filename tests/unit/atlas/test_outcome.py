"""What the terminal says at the end of a run."""

import pyarrow as pa

from neuron_descriptions.atlas.outcome import outcome
from neuron_descriptions.atlas.tables import ATLAS
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.descriptions.tables import ACCOUNTS


def atlas(folder, rows, cost=None):
    empty = dict.fromkeys(ATLAS.names)
    write_table(pa.Table.from_pylist([empty | row for row in rows], schema=ATLAS), folder / "atlas/atlas.parquet")
    account = dict.fromkeys(ACCOUNTS.names) | {"cost": cost}
    write_table(pa.Table.from_pylist([account], schema=ACCOUNTS), folder / "atlas/accounting.parquet")


def test_rows_scores_chance_cost_minutes_and_places_are_said(tmp_path):
    states = ["beats chance", "not shown", "at chance", "at chance"]
    rows = [
        {"score": 0.1 * (i + 1), "score_contrast": 0.2 * (i + 1), "chance": state} for i, state in enumerate(states)
    ]
    atlas(tmp_path, [*rows, {"status": "no_activation"}], cost=3.2)
    (tmp_path / "atlas/index.html").write_text("page")
    first, *places = outcome(str(tmp_path), 12.3).splitlines()
    assert first == (
        "5 rows, 4 scored; median score 0.25 on text as it comes, 0.50 on the contrast sequences;"
        " 1 beat chance (25 %), 1 not shown to, 2 at chance; $3.20; 12 minutes."
    )
    assert [place.split()[0] for place in places] == [
        str(tmp_path / f"atlas/{n}") for n in ("index.html", "atlas.parquet")
    ]


def test_without_scores_nulls_or_prices_it_says_less(tmp_path):
    atlas(tmp_path, [{"status": "no_activation"}])
    assert outcome(str(tmp_path), 0.5).splitlines()[0] == "1 rows, 0 scored; 30 seconds."


def test_without_an_atlas_it_says_nothing(tmp_path):
    assert outcome(str(tmp_path), 1.0) == ""
