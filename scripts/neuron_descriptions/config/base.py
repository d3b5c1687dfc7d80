"""What every section of the configuration is made of: strict types, and how rules track a section.

A rule's params hold what differs from the defaults (`tracked`), so that a new key with its default reruns nothing. A
default that changes would go unseen: so its section's `version` is raised with it, and a test compares the defaults
with a recorded table of them (`renewed`). A job makes the section anew from its params (`restored`).
"""

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationInfo,
    model_validator,
)


def _text_of_number(value: Any) -> Any:
    """`--config run=2025` is a number by the time it comes here."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def names_as_typed(config: dict[str, Any], arguments: Collection[str] | None) -> None:
    """Put back what `--config run=2025_01` said before Snakemake made a number of it. config: changed in place;
    arguments: those of --config."""
    for argument in arguments or ():
        name, _, typed = (part.strip(" '\"") for part in argument.partition("="))
        found = config.get(name)
        if name in ("run", "evidence") and isinstance(found, int | float) and not isinstance(found, bool):
            try:
                same = float(typed) == float(found)
            except ValueError:  # a file of the configuration says otherwise
                same = False
            if same:
                config[name] = typed


def plain_path(path: str) -> str:
    """The path of a user's file. Raises ValueError where Snakemake would read it as something else."""
    if not path.strip():
        raise ValueError("the path is empty")
    if found := sorted(set(path) & set("{}<>")):
        raise ValueError(
            f"{path!r} has {' '.join(found)} in it, which Snakemake would read as a wildcard or a path variable:"
            " rename the file or folder"
        )
    if not path.isprintable():
        raise ValueError(f"{path!r} has an unprintable character in it")
    return path


# Parts of names under which secrets stand.
_SECRET = re.compile(
    r"(?:api|access|account|auth|functions|master|private|shared|subscription)[_-]?key|authorization|passw(?:or)?d|^pwd$"
    r"|secret|bearer|cookie|credential|token$|^key$|(?:^|-)sig(?:nature)?$|^(?:x-)?auth$|^code$",
    re.IGNORECASE,
)
# Texts that are secrets, wherever they stand: a user with a password in an address, and keys by their issuers' marks.
_KEY = re.compile(
    r"://[^/\s:@]*:[^/\s@]+@|\b(?:Bearer|Basic) [\w+/=.~-]{12,}"
    r"|\b(?:sk-|hf_|gh[pousr]_|github_pat_|glpat-|xox[abp]-|AIza|AKIA|r8_|gsk_)[\w-]{16,}"
)


def address(url: str) -> str:
    """An http(s) address. Raises ValueError, which does not show it, where it is none, or has a secret in it: addresses
    are kept with the results."""
    try:
        parts = urlsplit(url)
    except ValueError:  # of brackets that hold no address of version 6
        raise ValueError("not an http(s) address") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in url:
        raise ValueError("not an http(s) address without a user and password in it")
    named = parse_qsl(parts.query, keep_blank_values=True) + parse_qsl(parts.fragment, keep_blank_values=True)
    if any(_SECRET.search(name) for name, _ in named):
        raise ValueError("it has a secret in it, and is kept with the results; secrets come from the environment alone")
    return url


def without_secrets(value: Any) -> None:
    """Raises ValueError that names the key, and does not show its value, where a secret stands in a section that is
    kept with the results."""
    for key, inner in value.items() if isinstance(value, dict) else []:
        if _SECRET.search(str(key)) and isinstance(inner, str):
            raise ValueError(
                f"{key}: it is kept with the results; secrets come from the environment (key_variable) alone"
            )
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
        without_secrets(inner)


def check_secrets(value: Any, place: str = "") -> None:
    """Raises ValueError that names the key, and does not show its value, where a text of a configuration is a key, or
    an address with a password: the configuration is kept with the results."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if _KEY.search(str(key)):
                raise ValueError(f"{place or 'the configuration'}: one of its keys is a secret; take it out")
            check_secrets(inner, f"{place}.{key}".lstrip("."))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            check_secrets(inner, f"{place}.{number}")
    elif isinstance(value, str) and _KEY.search(value):
        raise ValueError(
            f"{place}: it has a secret in it, and is kept with the results; secrets come from the environment alone"
        )


def variable_name(name: str) -> str:
    """The name of an environment variable. Raises ValueError, which does not show it, where it is none: it may be the
    key itself."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name):
        raise ValueError(
            "it is no name of an environment variable; set it to the variable's name, never to the key itself"
        )
    return name


Dtype = Literal["float32", "bfloat16", "float16"]
Name = Annotated[
    str, BeforeValidator(_text_of_number), StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)
]
UserPath = Annotated[str, AfterValidator(plain_path)]
Address = Annotated[str, AfterValidator(address)]
VariableName = Annotated[str, AfterValidator(variable_name)]
# No number of a run is larger. What tables keep in 16 bits (layers, ranks, counts of a neuron's) is bounded by that.
PositiveInt = Annotated[int, Field(gt=0, le=10**9)]
NonNegativeInt = Annotated[int, Field(ge=0, le=10**9)]
PositiveFloat = Annotated[float, Field(gt=0, le=1e9)]
NonNegativeFloat = Annotated[float, Field(ge=0, le=1e9)]
PositiveInt16 = Annotated[int, Field(gt=0, le=32_767)]
NonNegativeInt16 = Annotated[int, Field(ge=0, le=32_767)]
Candidates = Annotated[int, Field(ge=0, le=10_000)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Pinned = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.+!_-]+$")]


class Section(BaseModel):
    """A section of the configuration: strict types, no unknown keys, field docstrings kept."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    version: ClassVar[int] = 1  # of the defaults: one more whenever one of them changes

    @model_validator(mode="before")
    @classmethod
    def _of_params(cls, raw: Any, info: ValidationInfo) -> Any:
        if info.context is _RESTORING and isinstance(raw, Mapping):
            return {key: value for key, value in raw.items() if key != "version"}
        return raw


_RESTORING = {"restoring": True}


def tracked(
    section: Section, exclude: Collection[str] = (), *, include: Collection[str] | None = None
) -> dict[str, Any]:
    """What a rule's params say of a section: its keys that differ from their defaults, sections inside it likewise,
    and its version from 2 on. exclude: keys that decide nothing there; include: instead, the only ones that do."""
    found: dict[str, Any] = {"version": section.version} if section.version > 1 else {}
    for key, field in type(section).model_fields.items():
        if key in exclude or (include is not None and key not in include):
            continue
        value, default = getattr(section, key), field.get_default(call_default_factory=True)
        said = _plain(value)
        if field.is_required() or value != default or (isinstance(value, Section) and said):
            found[key] = said
    return dict(sorted(found.items()))


def _plain(value: Any) -> Any:
    """A value of the configuration as params hold it."""
    if isinstance(value, Section):
        return tracked(value)
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return value


def _bare(said: Any) -> Any:
    return {key: value for key, value in said.items() if key != "version"} if isinstance(said, dict) else said


def restored(kind: Any, params: Mapping[str, Any], **others: Any) -> Any:
    """The section that `tracked` said this of: defaults are back, and everything is validated again.

    kind: the section's class, or the type of several; others: required keys that the params leave out. Raises
    pydantic.ValidationError where they are no such section.
    """
    return TypeAdapter(kind).validate_python({**params, **others}, context=_RESTORING)


Recorded = dict[str, dict[str, Any]]  # section -> version, defaults


def renewed(record: Recorded, sections: Collection[type[Section]]) -> Recorded:
    """The record of all defaults, brought up to date. Raises ValueError where a default is another than recorded and
    its section's version is not: finished runs would not see the change."""
    found: Recorded = {}
    for section in sorted(sections, key=lambda s: s.__name__):
        defaults = {
            key: _plain(field.get_default(call_default_factory=True))
            for key, field in sorted(section.model_fields.items())
            if not field.is_required()
        }
        found[section.__name__] = {"version": section.version, "defaults": defaults}
        before = record.get(section.__name__, {"version": 0, "defaults": {}})
        # A section inside says its version in the params itself.
        changed = [k for k, v in before["defaults"].items() if k in defaults and _bare(defaults[k]) != _bare(v)]
        if changed and section.version <= before["version"]:
            raise ValueError(
                f"the default of {section.__name__}.{changed[0]} changed from"
                f" {before['defaults'][changed[0]]!r} to {defaults[changed[0]]!r}: so that finished runs are"
                f" made anew, set the section's `version: ClassVar[int] = {before['version'] + 1}`, then `make docs`"
            )
    return found
