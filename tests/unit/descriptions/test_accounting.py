"""The run's accounts."""

import pyarrow as pa
import pytest

from neuron_descriptions.clients.base import Answer, cost
from neuron_descriptions.common.storage import read_table, write_table
from neuron_descriptions.config.explainers import Prices
from neuron_descriptions.descriptions.accounting import write_accounts
from neuron_descriptions.descriptions.asking import Tally
from neuron_descriptions.descriptions.candidates import Candidate
from neuron_descriptions.descriptions.tables import ACCOUNTING, ACCOUNTS

PRICES = Prices(prompt=0.5, completion=2.0)


def part(layer, fresh, seconds):
    tally = Tally(seconds=seconds)
    for status in ("ok", "refused", "unparsed", "ok"):
        tally.add(Answer("text", 1000, 10, True), status, fresh)
    done, silent = Candidate(layer, 7, "positive", 0, prompt="p", status="ok"), Candidate(layer, 7, "negative", 0)
    return tally.row(layer, "a model", [done, done, silent])


def test_cost_is_at_the_prices_of_a_million_tokens():
    assert cost(3_000_000, 500_000, PRICES) == 2.5
    assert cost(3_000_000, 500_000, None) is None


@pytest.mark.parametrize("prices", [None, PRICES])
def test_accounts_are_sums_per_layer_and_of_the_run(tmp_path, prices):
    rows = [part(3, True, 2.0), part(1, True, 4.0), part(1, False, 0.0)]
    paths = [str(tmp_path / f"{i}.parquet") for i in range(3)]
    for row, path in zip(rows, paths):
        write_table(pa.Table.from_pylist([row], schema=ACCOUNTING), path)
    write_accounts(paths, prices, str(tmp_path / "accounts.parquet"))
    first, third, run = read_table(tmp_path / "accounts.parquet", ACCOUNTS).to_pylist()
    assert [row["layer"] for row in (first, third, run)] == [1, 3, None]
    assert (run["candidates"], run["described"], run["answers"]) == (6, 6, 12)
    assert (run["refused"], run["unparsed"]) == (3, 3)
    assert (run["prompt_tokens"], run["completion_tokens"]) == (12_000, 120)
    assert (first["prompt_tokens"], third["prompt_tokens"]) == (8000, 4000)
    assert run["cost"] == (pytest.approx(12_000 * 0.5e-6 + 120 * 2e-6) if prices else None)
    # What was known already took no time.
    assert run["prompt_tokens_per_second"] == 8000 / 6
    assert first["completion_tokens_per_second"] == 40 / 4


def test_run_without_a_single_answer_has_accounts_too(tmp_path):
    row = Tally().row(1, "a model", [Candidate(1, 7, "positive", 0)])
    write_table(pa.Table.from_pylist([row], schema=ACCOUNTING), tmp_path / "0.parquet")
    write_accounts([str(tmp_path / "0.parquet")], PRICES, str(tmp_path / "accounts.parquet"))
    (_, run) = read_table(tmp_path / "accounts.parquet", ACCOUNTS).to_pylist()
    assert (run["cost"], run["prompt_tokens_per_second"], run["candidates"]) == (0.0, None, 0)
