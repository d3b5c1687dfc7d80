"""What pydantic finds wrong with a configuration, in plain words: the key, what is wrong, and what to write."""

import difflib
import re
from collections.abc import Iterator
from datetime import date
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "keys with values",
    "model_type": "a section of keys with values",
    "model_attributes_type": "a section of keys with values",
}
BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
BRACES = (
    "values that are nested in braces of --config arrive as text: put them in a YAML file and name it as a further"
    " file after --configfile"
)
# Keys that had another name: the place, and what it is called now.
RENAMED = {
    "plan.gpu_hour": "dollars_per_gpu_hour",
    "plan.answers": "answers_per_second",
    "plan.corpus_tokens": "corpus_tokens_per_second",
    "plan.rows": "rows_per_second",
}
# A union's members in a location, such as `list[union[constrained-int,str]]`: nothing that a user wrote.
MEMBER = re.compile(r".*\[.*\]|constrained-\w+|int|str")


def plain_messages(error: ValidationError, config: type[BaseModel]) -> list[str]:
    """A line for each wrong key: `key: what is wrong`. config: the model that was validated."""
    found: dict[str, list[ErrorDetails]] = {}
    for details in error.errors():
        found.setdefault(_place(details, config), []).append(details)
    lines = []
    for where, errors in found.items():
        if any(other.startswith(f"{where}.") for other in found) and errors[0]["type"] == "literal_error":
            continue  # `all` or a list: it is a list, with something wrong in it
        # A member of a union that the value is closer to says what is wrong with it.
        closest = [e for e in errors if not e["type"].endswith(("_type", "literal_error"))] or errors[-1:]
        lines.append(f"{where or 'config'}: {_said(closest[0], errors, config)}")
    return lines


def _said(error: ErrorDetails, errors: list[ErrorDetails], config: type[BaseModel]) -> str:
    """What is wrong. errors: all of the same place."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "missing":
        return "it is missing, and required"
    if kind == "extra_forbidden":
        return _unknown(error["loc"], config)
    if kind == "union_tag_invalid":
        name = context["discriminator"]
        return f"{name} is {_short(context['tag'])}; it is one of {context['expected_tags']}"
    if kind == "union_tag_not_found":
        return f"the key {context['discriminator']} is missing, which says what kind of section this is"
    if kind == "literal_error":
        return f"{_short(value)} is not one of {context['expected']}"
    if kind in BOUNDS:
        bound, words = BOUNDS[kind]
        return f"{_short(value)} must be {words} {context[bound]}"
    if kind == "finite_number":
        return "it must be a finite number"
    if kind in ("string_too_long", "too_long") and isinstance(value, str):
        return f"{_short(value)} has more than {context['max_length']} characters"
    if kind == "invalid_key":
        return "a key must be text: put it in quotes"
    if kind == "string_pattern_mismatch":
        return f"{_short(value)} is not of the form {_form(context['pattern'])}"
    if kind in KINDS:
        others = [e["ctx"]["expected"] for e in errors if e["type"] == "literal_error"]
        wanted = " or ".join([*others, KINDS[kind]])
        return f"{_short(value)} is {_kind(value)}, not {wanted}{_remedy(kind, value)}"
    return error["msg"].removeprefix("Value error, ")


def _remedy(kind: str, value: Any) -> str:
    """What to write instead, where that is known."""
    if kind == "string_type" and isinstance(value, bool):
        return ": YAML reads yes, no, on and off as true and false; put it in quotes as it is meant"
    if kind == "string_type" and isinstance(value, int | float | date):
        return f': put it in quotes, "{value}"'
    if kind in ("int_type", "int_from_float") and isinstance(value, float) and value.is_integer():
        return f": write {int(value)}"
    if not isinstance(value, str):
        return f": write [{value}]" if kind in ("list_type", "tuple_type") and isinstance(value, int) else ""
    if kind in ("list_type", "tuple_type") and not value.lstrip().startswith(("[", "{")):
        return f': write ["{value}"]'
    if kind in ("int_type", "float_type") and re.fullmatch(r"[-+]?0[0-9]*[89][0-9]*", value):  # no octal number
        return f": YAML reads it as text, for the zero in front; write {int(value)}"
    if kind in ("int_type", "float_type", "bool_type"):
        if re.fullmatch(r"\s*[-+]?([0-9]+|[0-9]*\.[0-9]+|[0-9]+\.[0-9]*)\s*|true|false|yes|no", value, re.IGNORECASE):
            return f": write it without quotes; {BRACES}"
        if kind != "bool_type" and re.fullmatch(r"[-+]?[0-9]+(\.[0-9]*)?e[-+]?[0-9]{1,2}", value, re.IGNORECASE):
            number = float(value)
            if kind == "float_type" or number.is_integer():
                return f": YAML reads it as a number when written {int(number) if number.is_integer() else number:f}"
    if value.lstrip().startswith(("[", "{")):
        return f"; {BRACES}"
    return ""


def _form(pattern: str) -> str:
    """A pattern of a section in words."""
    if pattern == r"^[0-9a-f]{64}$":
        return "of a SHA-256 checksum: 64 digits 0-9 and a-f"
    if "==" in pattern:
        return "package==version"
    if "/" in pattern:
        return "owner/name"
    if pattern.startswith("^[a-z]"):
        return "of a name: small letters, digits and `_`, the first one a letter"
    return "of a name: letters, digits, `_`, `.` and `-`, the first one a letter or digit"


def _kind(value: Any) -> str:
    """What YAML read."""
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a section"}
    return "empty" if value is None else kinds.get(type(value), f"a {type(value).__name__}")


def _short(value: Any) -> str:
    """A value as a message quotes it."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    text = str(value) if isinstance(value, date) else text
    return text if len(text) <= 60 else text[:57] + "..."


def _place(error: ErrorDetails, config: type[BaseModel]) -> str:
    """An error's location as the keys that the user wrote: a union adds its tag, or its member, to them."""
    keys = [str(key) for key in error["loc"]]
    unions = {("models",): 2, ("corpus", "sources"): 3, ("descriptions", "explainer"): 2}
    unions |= {("exemplars",): 1, ("features",): 1, ("scores", "scorers"): 3, ("scores", "simulator", "client"): 3}
    tag = next((place for union, place in unions.items() if keys[: len(union)] == [*union]), len(keys))
    keys = keys[:tag] + keys[tag + 1 :]
    if keys[:2] == ["scores", "scorers"] and keys[3:4] in (["judge"], ["writer"]):
        keys = keys[:4] + keys[5:]
    if keys[-2:-1] and keys[-1] == "[key]":
        keys = keys[:-1]
    if "layers" in keys or "indices" in keys:
        first = next(i for i, key in enumerate(keys) if key in ("layers", "indices"))
        keys = [*keys[: first + 1], *(key for key in keys[first + 1 :] if not MEMBER.fullmatch(key))]
    if error["type"] == "union_tag_invalid":
        keys.append(error["ctx"]["discriminator"].strip("'"))
    return ".".join(keys)


def _unknown(location: tuple[int | str, ...], config: type[BaseModel]) -> str:
    """About a key that there is not: the closest one that there is, or the section that it belongs to."""
    *sections, key = map(str, location)
    if now := RENAMED.get(".".join(map(str, location))):
        return f"this key is called `{now}` now; rename it"
    known = {name for section in _sections(sections, config) for name in section.model_fields}
    if close := difflib.get_close_matches(key, known, 1):
        remedy = f"did you mean `{close[0]}`? Others are in config/README.md"
    elif elsewhere := [*_places(config, key)][:3]:
        remedy = f"it stands under another section: {', '.join(elsewhere)}"
    else:
        remedy = "see config/README.md for the known ones"
    return f"unknown key; {remedy}"


def _sections(path: list[str], config: type[BaseModel]) -> list[type[BaseModel]]:
    """The sections, more than one in a union, that stand at a location."""
    here, of_field, named = [config], [config], False
    for key in path:
        fields = [section.model_fields[key] for section in here if key in section.model_fields]
        if fields and not named:
            here = of_field = [s for field in fields for s in _models(field.annotation)]
            named = "dict" in str(fields[0].annotation)
        elif named:
            named = False  # a name that the user chose
        else:
            here = [s for s in of_field if key in _tags(s)] or here
    return here


def _tags(section: type[BaseModel]) -> set[str]:
    """The values that select this form of a section in a union."""
    fields = [section.model_fields[name] for name in ("source", "client", "kind") if name in section.model_fields]
    return {str(value) for field in fields for value in get_args(field.annotation)}


def _models(annotation: Any) -> list[type[BaseModel]]:
    if args := get_args(annotation):
        return [model for arg in args for model in _models(arg)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []


def _places(section: type[BaseModel], key: str, path: str = "") -> Iterator[str]:
    """Where a key is known: its sections, written with dots."""
    for name, field in section.model_fields.items():
        if name == key:
            yield path + name
        for inner in _models(field.annotation):
            yield from (p for p in _places(inner, key, f"{path}{name}.") if "dict" not in str(field.annotation))
