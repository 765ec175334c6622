"""What is wrong with a section of JSON, in one line with the key's path."""

import typing

from pydantic import BaseModel, ValidationError

from study.pythae_json import suggest


def _inner(model: type[BaseModel], key: str, tag: str | None) -> type[BaseModel] | None:
    """The section class under `key`; of a union the one whose `name` may be `tag`."""
    field = model.model_fields.get(key)
    kinds = [field.annotation, *typing.get_args(field.annotation)] if field else []
    sections = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
    if len(sections) > 1:
        sections = [
            k for k in sections if tag in typing.get_args(k.model_fields["name"].annotation)
        ]
    return sections[0] if len(sections) == 1 else None


def _known_keys(model: type[BaseModel], loc: tuple) -> tuple[list[str], list[str]]:
    """The key path of an error without Pydantic's union tags, and the keys known beside it."""
    path: list[str] = []
    at: type[BaseModel] | None = model
    # Where a key itself is bad, pydantic says so in a part of its own.
    parts = [str(part) for part in loc if part != "[key]"]
    known: list[str] = []
    while parts:
        part = parts.pop(0)
        path.append(part)
        known = [f.alias or name for name, f in at.model_fields.items()] if at else []
        at = _inner(at, part, parts[0] if parts else None) if at else None
        names = at.model_fields.get("name") if at else None
        if names and parts and parts[0] in typing.get_args(names.annotation):
            parts.pop(0)
    return path, known


def _tag(error: typing.Any) -> str:
    """The key that tells the kinds of a union apart."""
    return error["ctx"]["discriminator"].strip("'")


def explain(model: type[BaseModel], error: ValidationError) -> str:
    """The first of pydantic's errors on a `model`: the key's path, what is wrong, what would do."""
    first = error.errors()[0]
    path, known = _known_keys(model, first["loc"])
    where = ".".join(path)
    if first["type"] == "extra_forbidden":
        may = f"; known are {', '.join(known)}" if known else ""
        return f"{where}: unknown key{suggest(path[-1], known)}{may}"
    if first["type"] == "missing":
        return f"{where}: this key is missing"
    if first["type"] == "union_tag_not_found":
        return f"{where}.{_tag(first)}: this key is missing; it says which kind is meant"
    if first["type"] == "union_tag_invalid":
        got, tags = first["ctx"]["tag"], first["ctx"]["expected_tags"]
        hint = suggest(got, [tag.strip("' ") for tag in tags.split(",")])
        return f"{where}.{_tag(first)}: '{got}' is not one of {tags}{hint}"
    got = first.get("input")
    shown = f", not {got!r}" if isinstance(got, str | int | float | bool | None) else ""
    if first["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return f"{where}: an object, {{...}}, is wanted{shown}"
    return f"{where}: {first['msg']}{shown}" if where else f"{first['msg']}"
