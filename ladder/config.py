"""One TOML per build or run, validated by typed models: unknown keys fail with a did-you-mean and the key's path.

Layers: defaults, then the file, then dotted overrides (`--set sampling.k=16`). Knows nothing of what settings mean.
"""

from __future__ import annotations

import difflib
import json
import tomllib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ladder.errors import BadInput


class Settings(BaseModel):
    """Base of every settings model: frozen, strict about names, and every number finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


S = TypeVar("S", bound=Settings)


def load(cls: type[S], path: Path, overrides: Iterable[str] = ()) -> S:
    """Read and validate a TOML file; raises BadInput in one line that names file and key."""
    return validate(cls, read_toml(path), overrides, where=str(path))


def validate(
    cls: type[S], values: dict[str, Any], overrides: Iterable[str] = (), where: str = "settings"
) -> S:
    """Validate values with dotted overrides applied; raises BadInput."""
    for override in overrides:
        _apply(values, override)
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        raise BadInput(f"{where}: {_first_problem(cls, error)}") from None


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a dictionary; raises BadInput where it is missing or malformed."""
    if not path.is_file():
        raise BadInput(f"no file {path}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not valid TOML: {error}") from None


def merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`base` with `own` laid over it, table by table."""
    both = {key: (base[key], own[key]) for key in base.keys() & own.keys()}
    tables = {k: merged(a, b) for k, (a, b) in both.items() if isinstance(a, dict) and isinstance(b, dict)}
    return base | own | tables


def dump(settings: Settings) -> str:
    """The resolved settings as TOML (unset optional keys left out)."""
    import tomli_w

    return tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True))


def shipped(folder: str, name: str, suffix: str = ".toml") -> Path:
    """A file that comes with Ladder, named without a path, or one's own, named with one.

    `folder` is `pipelines`, `data_cards` or, below `trainer/`, `recipes`. Raises BadInput naming those there are.
    """
    if name.endswith(suffix) or "/" in name:
        return Path(name).expanduser()
    places = [_root(folder) / f"{name}{suffix}"]
    for place in places:
        if place.is_file():
            return place
    there = sorted(p.name.removesuffix(suffix) for p in _root(folder).glob(f"*{suffix}"))
    hint = did_you_mean(name, there)
    raise BadInput(f"no {folder.rstrip('s')} {name!r}{hint}; there are: {', '.join(there)}; or give a path")


def _root(folder: str) -> Path:
    package = Path(__file__).parent
    if folder == "recipes":
        return package.parent / "trainer" / "recipes"
    installed = package / "_shipped" / folder
    return installed if installed.is_dir() else package.parent / folder


def put(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key, making the tables on its way. What is no table there becomes one: some settings are a number or a
    table, and validation tells of those that are not."""
    *tables, last = _keys(key)
    for table in tables:
        if not isinstance(values.get(table), dict):
            values[table] = {}
        values = values[table]
    values[last] = value


def said(overrides: Iterable[str], key: str) -> Any:
    """What `--set` says of a dotted key; None where it says nothing. A value in the place of one of the key's tables is
    given as it is."""
    found: Any = {}
    for override in overrides:
        _apply(found, override)
    for part in _keys(key):
        if not isinstance(found, dict) or part not in found:
            return None if isinstance(found, dict) else found
        found = found[part]
    return found


def with_options(overrides: Iterable[str], options: Mapping[str, tuple[str, Any]]) -> list[str]:
    """Overrides of `--set` with the values of options that set the same: by option, its dotted key and its value (None: not
    given). Raises BadInput where an option and `--set` differ."""
    overrides = list(overrides)
    made = list(overrides)
    for option, (key, value) in options.items():
        if value is None:
            continue
        other = said(overrides, key)
        if other is not None and other != value:
            raise BadInput(
                f"{option} says {value!r} and --set says {other!r} of the same, {key}: give one of both"
            )
        made.append(f"{key}={json.dumps(value, ensure_ascii=False)}")
    return made


def _apply(values: dict[str, Any], override: str) -> None:
    key, found, text = override.partition("=")
    if not found or not key.strip():
        raise BadInput(
            f"--set {override!r}: write it as key=value, with dots for tables: --set sampling.k=16"
        )
    put(values, key.strip(), _value(text))


def _keys(text: str) -> list[str]:
    """The parts of a dotted key; TOML quotes those that hold dots and signs."""
    try:
        value = tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError:
        return text.split(".")
    keys: list[str] = []
    while isinstance(value, dict):
        if len(value) != 1:  # a comment
            return text.split(".")
        ((key, value),) = value.items()
        keys.append(key)
    return keys


def _value(text: str) -> Any:
    """A TOML value; what is none is a string."""
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text


def _first_problem(cls: type[Settings], error: ValidationError) -> str:
    # an unknown key explains a missing one beside it, so it is told first
    problems = sorted(error.errors(), key=lambda p: p["type"] != "extra_forbidden")
    first = problems[0]
    unknown = first["type"] == "extra_forbidden"
    tables, models = _walk(cls, first["loc"][:-1] if unknown else first["loc"])
    path = ".".join(map(str, [*tables, first["loc"][-1]] if unknown else tables))
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if unknown:
        known = [name for model in models for name in model.model_fields]
        table = "".join(f"{part}." for part in tables)
        hint = did_you_mean(str(first["loc"][-1]), known, table) or _whole_table(tables, models, first["loc"])
        return f"unknown key {path!r}{hint}{more}"
    return f"{path}{': ' if path else ''}{_message(first)}{more}"


def _whole_table(
    tables: list[int | str], models: list[type[Settings]], location: tuple[int | str, ...]
) -> str:
    """Words on a table that was made another variant and has keys of the former; empty where it is none of several."""
    tag = location[-2] if len(location) > 1 else ""
    chosen = [n for m in models for n, f in m.model_fields.items() if typing.get_args(f.annotation) == (tag,)]
    if not chosen or not tables:
        return ""
    table = f'{".".join(map(str, tables))}={{{chosen[0]}="{tag}"}}'
    return (
        f", which {tag!r} does not have; to leave out what was set for another, set the whole table: {table}"
    )


def _message(problem: Any) -> str:
    """Pydantic's words without its own terms."""
    if problem["type"] == "union_tag_invalid":
        return f"{problem['ctx']['tag']!r} is none of {problem['ctx']['expected_tags']}"
    if problem["type"] == "union_tag_not_found":
        return f"lacks {problem['ctx']['discriminator'].strip(chr(39))!r}, which says what the rest of it is"
    message = problem["msg"].removeprefix("Value error, ").replace("valid tuple", "list")
    return f"{message[0].lower()}{message[1:]}"


def _walk(cls: type[Settings], location: Iterable[int | str]) -> tuple[list[int | str], list[type[Settings]]]:
    """A table's location as a file spells it, and the models that may stand there. Pydantic's location also holds the
    tags of unions, which are no keys but choose the model."""
    keys: list[int | str] = []
    models: list[type[Settings]] = [cls]
    named = False  # the part is one of a table's own names
    for part in location:
        if isinstance(part, str) and not named and not any(part in model.model_fields for model in models):
            models = [m for m in models if _tagged(m, part)] or models
            continue
        keys.append(part)
        if named:
            named = False
            continue
        named = any(_names_its_own(model, str(part)) for model in models)
        models = [m for model in models for m in _models_in(model, str(part))] or models
    return keys, models


def _names_its_own(model: type[Settings], name: str) -> bool:
    """Whether a field is a table of tables whose names are the user's."""
    return name in model.model_fields and typing.get_origin(model.model_fields[name].annotation) is dict


def _tagged(model: type[Settings], tag: str) -> bool:
    return any(typing.get_args(field.annotation) == (tag,) for field in model.model_fields.values())


def _models_in(model: type[Settings], name: str) -> list[type[Settings]]:
    if name not in model.model_fields:
        return []
    found: list[type[Settings]] = []
    queue: list[Any] = [model.model_fields[name].annotation]
    while queue:
        kind = queue.pop()
        if isinstance(kind, type) and issubclass(kind, Settings):
            found.append(kind)
        queue.extend(typing.get_args(kind))
    return found


def did_you_mean(name: str, known: Iterable[str], table: str = "") -> str:
    """Words that suggest the nearest of the known names; empty where none is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean {table + close[0]!r}?" if close else ""
