"""The reference of the configuration, generated from its models: config/README.md and a JSON schema."""

import json
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from neuron_descriptions.config.base import Section, renewed
from neuron_descriptions.config.sections import Config


def _pages(section: type[BaseModel], path: str, name: str, seen: set[str]) -> list[str]:
    """Markdown of a section: its keys in the order of the configuration, then the sections inside it, but for those
    whose titles are in `seen`."""
    rows: list[str] = []
    inner: list[tuple[type[BaseModel], str, str]] = []
    for key, field in section.model_fields.items():
        nested = [t for t in _types(field.annotation) if isinstance(t, type) and issubclass(t, BaseModel)]
        default = _default(field, bool(nested))
        rows.append(f"| `{key}` | {default} | {' '.join((field.description or '').split())} |")
        mapping = "dict" in str(field.annotation)
        for t in nested:
            form = _form(t)
            note = f" ({form})" if form else ""
            inner.append(
                (t, f"{path}{key}{'.<name>' if mapping else ''}.", f"{path}{key}{'.<name>' if mapping else ''}{note}")
            )
    lines = [f"## `{name}`" if name else "## The run", ""]
    if name:
        lines += [" ".join((section.__doc__ or "").split()), ""]
    lines += ["| key | default | meaning |", "| --- | --- | --- |", *rows, ""]
    for t, prefix, title in inner:
        if title not in seen:
            seen.add(title)
            lines += _pages(t, prefix, title, seen)
    return lines


def _form(section: type[BaseModel]) -> str | None:
    """The value of `source`, `client` or `kind` that selects a form of a section, if it has but one."""
    for key in ("source", "client", "kind"):
        values = get_args(section.model_fields[key].annotation) if key in section.model_fields else ()
        if len(values) == 1:
            return str(values[0])
    return None


def _default(field: FieldInfo, is_section: bool) -> str:
    """A key's default, as the reference shows it."""
    fixed = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    if field.is_required():
        return f"`{json.dumps(fixed[0])}`" if len(fixed) == 1 else "**required**"
    return "" if is_section else f"`{json.dumps(field.default)}`"


def _types(annotation: Any) -> list[Any]:
    args = get_args(annotation)
    return [t for arg in args for t in _types(arg)] if args else [annotation]


def documentation() -> str:
    """config/README.md: every key with its default and meaning, a table per section."""
    return "\n".join(
        [
            "# Configuration",
            "",
            "Generated from scripts/neuron_descriptions/config/ by `make docs`; do not edit.",
            "",
            "A run is one YAML file: `snakemake --configfile config/demo.yaml`. An unknown key, a wrong type or a"
            " value out of range is an error before any work starts. Secrets (`HF_TOKEN`) come from the"
            " environment, never from here. A word in brackets after a section's name is the value of the key"
            " (`source`, `client`, `kind`) that selects this form of it.",
            "",
            *_pages(Config, "", "", set()),
        ]
    )


def schema() -> str:
    """config/schemas/config.schema.json: for editors that complete and check YAML."""
    return json.dumps(Config.model_json_schema(), indent=2, sort_keys=True) + "\n"


def sections(section: type[Section] = Config) -> set[type[Section]]:
    """A section and all that stand in it, at any depth."""
    kinds = [kind for field in section.model_fields.values() for kind in _types(field.annotation)]
    inner = {kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)}
    return {section}.union(*(sections(kind) for kind in inner))


def defaults(record: Path) -> str:
    """config/schemas/defaults.json: every default, and the version of its section. Raises ValueError where one changed
    from what is recorded without a new version."""
    return json.dumps(renewed(json.loads(record.read_text()), sections()), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    root = Path(__file__).parents[3] / "config"
    (root / "README.md").write_text(documentation())
    (root / "schemas" / "config.schema.json").write_text(schema())
    (root / "schemas" / "defaults.json").write_text(defaults(root / "schemas" / "defaults.json"))
