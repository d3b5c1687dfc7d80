"""What descriptions took: answers, tokens, time, money."""

from typing import Any

import pyarrow as pa

from neuron_descriptions.clients.base import cost
from neuron_descriptions.common.storage import read_table, write_table
from neuron_descriptions.config.explainers import Prices
from neuron_descriptions.descriptions.tables import ACCOUNTING, ACCOUNTS

_COUNTS = [field.name for field in ACCOUNTING if field.name not in ("layer", "explainer")]


def accounts(rows: list[dict[str, Any]], prices: Prices | None) -> list[dict[str, Any]]:
    """Rows of ACCOUNTS: a layer's parts summed up, then the run. rows: of ACCOUNTING."""
    layers = sorted({row["layer"] for row in rows})
    return [_account([r for r in rows if r["layer"] == layer], layer, prices) for layer in layers] + [
        _account(rows, None, prices)
    ]


def _account(rows: list[dict[str, Any]], layer: int | None, prices: Prices | None) -> dict[str, Any]:
    sums = {name: sum(row[name] for row in rows) for name in _COUNTS}
    seconds = sums["seconds"]
    return {
        "layer": layer,
        "explainer": rows[0]["explainer"],
        **sums,
        "cost": cost(sums["prompt_tokens"], sums["completion_tokens"], prices),
        "prompt_tokens_per_second": sums["fresh_prompt_tokens"] / seconds if seconds else None,
        "completion_tokens_per_second": sums["fresh_completion_tokens"] / seconds if seconds else None,
    }


def write_accounts(parts: list[str], prices: Prices | None, output: str) -> None:
    """Write the accounts of a run. parts: its tables of ACCOUNTING."""
    rows = [row for part in parts for row in read_table(part, ACCOUNTING).to_pylist()]
    write_table(pa.Table.from_pylist(accounts(rows, prices), schema=ACCOUNTS), output)
