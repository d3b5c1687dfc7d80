"""The reference of the configuration, generated from its models: config/README.md and a JSON schema."""

import json
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from .config import Config


def _reference(section: type[BaseModel], path: str = "") -> list[str]:
    """Markdown rows, one per key, in the order of the configuration."""
    rows: list[str] = []
    for name, field in section.model_fields.items():
        key = f"{path}{name}"
        default = "**required**" if field.is_required() else ""
        nested = [t for t in _types(field.annotation) if isinstance(t, type) and issubclass(t, BaseModel)]
        if not field.is_required() and not nested:
            default = f"`{json.dumps(field.default)}`"
        rows.append(f"| `{key}` | {default} | {' '.join((field.description or '').split())} |")
        mapping = "dict" in str(field.annotation)
        for t in nested:
            tag = t.model_fields.get("source") or t.model_fields.get("client")
            note = f" ({get_args(tag.annotation)[0]})" if tag is not None else ""
            prefix = f"{key}{'.<name>' if mapping else ''}{note}."
            rows += _reference(t, prefix)
    return rows


def _types(annotation: Any) -> list[Any]:
    args = get_args(annotation)
    return [t for arg in args for t in _types(arg)] if args else [annotation]


def documentation() -> str:
    """config/README.md: every key with its default and meaning."""
    return "\n".join(
        [
            "# Configuration",
            "",
            "Generated from scripts/neuron_descriptions/config.py by `make docs`; do not edit.",
            "",
            "A run is one YAML file: `snakemake --configfile config/demo.yaml`. An unknown key, a wrong type or a"
            " value out of range is an error before any work starts. Secrets (`HF_TOKEN`) come from the"
            " environment, never from here.",
            "",
            "| key | default | meaning |",
            "| --- | --- | --- |",
            *_reference(Config),
            "",
        ]
    )


def schema() -> str:
    """config/schemas/config.schema.json: for editors that complete and check YAML."""
    return json.dumps(Config.model_json_schema(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    root = Path(__file__).parents[2] / "config"
    (root / "README.md").write_text(documentation())
    (root / "schemas" / "config.schema.json").write_text(schema())
