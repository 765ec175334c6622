"""JSON Schemas of the config files, made from the classes that check them, so that editors help.

They say what the checks say as far as JSON Schema can: what depends on several keys at once, or
on what Pythae and torch make of a value, is found by `--dry-run`.
"""

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Sequence
from functools import cache
from typing import Any, get_type_hints

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from study import pythae_bounds, pythae_json
from study.clusters import ClusterConfig
from study.expansion import set_by_the_study
from study.schema_files import RunConfig, StudyConfig

Schema = dict[str, Any]


@cache
def _comments(cls: type) -> dict[str, str]:
    """Field -> the comment lines right above it, of a class and what it inherits from."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base is BaseModel or not issubclass(base, BaseModel):
            continue
        source = textwrap.dedent(inspect.getsource(base))
        lines = source.splitlines()
        for node in ast.parse(source).body[0].body:
            if isinstance(node, ast.AnnAssign):
                first = last = node.lineno - 1
                while lines[first - 1].lstrip().startswith("#"):
                    first -= 1
                if first < last:
                    words = " ".join(line.strip().lstrip("# ") for line in lines[first:last])
                    found[node.target.id] = words
    return found


class _Generator(GenerateJsonSchema):
    """Pydantic's, with comments as descriptions and no titles that repeat the keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: Any) -> Schema:
        made = super().model_schema(schema)
        cls = schema["cls"]
        for name, comment in _comments(cls).items():
            key = cls.model_fields[name].alias or name
            made["properties"][key].setdefault("description", comment)
        return made

    def dict_schema(self, schema: Any) -> Schema:
        made = super().dict_schema(schema)
        # Pydantic refuses a key that does not fit, and leaves that out of its schema.
        return made | ({"additionalProperties": False} if "patternProperties" in made else {})


def _of(model: type[BaseModel]) -> Schema:
    made = model.model_json_schema(schema_generator=_Generator)
    return {"$schema": _Generator.schema_dialect} | {"$defs": {}} | made


def _documented(cls: type) -> dict[str, str]:
    """Key -> what the `Parameters:` of a Pythae config class and its bases say of it."""
    found: dict[str, str] = {}
    entry = r"^ *(\w+)(?: \([^)]*\))?: "
    for base in reversed(cls.__mro__[:-1]):
        text = re.sub(r":\w+:`~?([^`]*)`", r"\1", base.__doc__ or "")
        text = re.split(r"\n *\n *Examples?\b", text.partition("Parameters:")[2])[0]
        for match in re.finditer(rf"{entry}(.*?)(?={entry}|\Z)", text, re.MULTILINE | re.DOTALL):
            # The default stands beside it, and where the two differ the text is wrong.
            found[match[1]] = re.sub(r" ?Default:? .*$", "", " ".join(match[2].split()))
    return found


def _limits(cls: type, key: str) -> Schema:
    """What `check_bounds` asks of a key beside its type. It holds for numbers; null passes it."""
    limits: Schema = {}
    least, most, _ = pythae_bounds.limits(cls, key)
    if least is not None:
        limits["minimum"] = least
    if most is not None:
        limits["maximum"] = most
    if key in pythae_bounds.ABOVE_ZERO:
        limits["exclusiveMinimum"] = 0
    if key == "scales":
        limits["minItems"] = 1
    if key.endswith("optimizer_cls"):
        limits["not"] = {"const": "LBFGS"}
    return limits


def _pythae_field(cls: type, field: dataclasses.Field) -> Schema:
    key = field.name
    made = TypeAdapter(get_type_hints(cls)[key]).json_schema(schema_generator=_Generator)
    default = field.default_factory() if callable(field.default_factory) else field.default
    if default is None and made.get("type"):  # as `check_section`: the null that Pythae saves
        made["type"] = [made["type"], "null"]
    if key in pythae_json.OURS:
        why = f"Leave it out: {pythae_json.OURS[key]}."
        return made | {"enum": list(pythae_json.PASTED), "deprecated": True, "description": why}
    if key in pythae_json.UNRECORDED:
        return made | {"deprecated": True, "description": "Leave it out: Pythae sets it itself."}
    if why := pythae_bounds.UNREAD.get((cls.__name__, key)):
        why = f"Leave it out: {why}."
        return made | {"enum": [default], "deprecated": True, "description": why}
    if described := _documented(cls).get(key):
        made["description"] = described
    if key in pythae_json.OF_ONE_OPTIMIZER and pythae_json.optimized_parts(cls):
        why = "Leave it out: each part has an optimizer of its own."
        return made | {"enum": [default], "deprecated": True, "description": why}
    return made | _limits(cls, key) | {"default": default}


def _pythae_class(kind: str, name: str) -> Schema:
    cls = pythae_json.config_class(kind, name)
    fields = [field for field in dataclasses.fields(cls) if field.init and field.name != "name"]
    return {
        "type": "object",
        "properties": {"name": {"const": name}}
        | {field.name: _pythae_field(cls, field) for field in fields},
        "required": ["name"],
        "additionalProperties": False,
    }


def _pythae_section(kind: str, names: list[str]) -> Schema:
    return {
        "description": f"The {kind}: Pythae's own JSON. `name` says which, and so which keys.",
        "type": "object",
        # Said here too, so that a wrong name is called wrong, and not each class's keys.
        "properties": {"name": {"enum": names}},
        "required": ["name"],
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in names],
    }


def run_schema() -> Schema:
    """The schema of a run file."""
    made = _of(RunConfig)
    kinds = {"model": list(pythae_json.MODELS), "trainer": list(pythae_json.TRAINERS)}
    for kind, names in kinds.items():
        made["$defs"] |= {name: _pythae_class(kind, name) for name in names}
        made["properties"][kind] = _pythae_section(kind, names)
    made["allOf"] = [_trainer_of(model, kinds["trainer"][0]) for model in kinds["model"]]
    return made


def _trainer_of(model: str, usual: str) -> Schema:
    """A run of `model` has the trainer that Pythae trains it with."""

    def named(kind: str, name: str) -> Schema:
        return {"properties": {kind: {"properties": {"name": {"const": name}}}}}

    trainer = pythae_json.TRAINER_OF.get(model, usual)
    # `required`: a file without a model is wrong for that alone.
    there = {"model": {"required": ["name"], "properties": {"name": {"const": model}}}}
    return {"if": {"required": ["model"], "properties": there}, "then": named("trainer", trainer)}


def _settings(run: Schema) -> tuple[dict[str, list[Schema]], set[str]]:
    """Dotted key -> the schemas it may follow; and the keys below which everything may be set."""
    found: dict[str, list[Schema]] = {}
    free: set[str] = set()

    def visit(schema: Schema, path: str) -> None:
        if "$ref" in schema:
            visit(run["$defs"][schema["$ref"].rpartition("/")[2]], path)
        for branch in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
            visit(branch, path)
        if path and schema.get("additionalProperties") is True:
            free.add(path.removesuffix("."))
        for key, value in schema.get("properties", {}).items():
            # The names of a section stand in its classes, one in each, and here together.
            known = found.setdefault(path + key, [])
            if value not in known and not value.get("deprecated"):
                known.append(value)
            visit(value, f"{path}{key}.")

    visit(run, "")
    del found["$schema"]
    allowed = {key: of for key, of in found.items() if of and not set_by_the_study(key)}
    return allowed, free


def _add_settings(study: Schema, run: Schema) -> None:
    """The keys that `set` and `grid` may name, and what they may be set to."""
    allowed, free = _settings(run)
    values = {key: of[0] if len(of) == 1 else {"anyOf": of} for key, of in allowed.items()}
    below = {rf"^{re.escape(key)}\.": {} for key in sorted(free)}
    common = {"type": "object", "additionalProperties": False}
    study["$defs"] |= run["$defs"] | {
        "Setting": common | {"properties": values, "patternProperties": below},
        "Grid": common
        | {
            "properties": {key: _listed({"$ref": _setting(key)}) for key in values},
            "patternProperties": {key: _listed({}) for key in below},
        },
    }
    for owner in (study, study["$defs"]["StudyRun"], study["$defs"]["Budget"]):
        for key, name in (("set", "Setting"), ("grid", "Grid")):
            if there := owner["properties"].get(key):
                described = {k: v for k, v in there.items() if k in ("default", "description")}
                owner["properties"][key] = {"$ref": f"#/$defs/{name}"} | described
    by_run = study["$defs"]["Budget"]["properties"]["run_set"]["patternProperties"]
    for name in by_run:
        by_run[name] = {"$ref": "#/$defs/Setting"}


def _setting(key: str) -> str:
    return f"#/$defs/Setting/properties/{key}"


def _listed(value: Schema) -> Schema:
    return {"type": "array", "items": value, "minItems": 1}


def _limit_metrics(table: Schema, metrics: dict[str, Sequence[str]]) -> None:
    """Each kind of table takes its own metrics; all of them stand where an editor looks."""
    listed = dict.fromkeys(key for keys in metrics.values() for key in keys)
    table["properties"]["metrics"]["items"]["enum"] = list(listed)

    def of(kind: str) -> Schema:
        return {"properties": {"metrics": {"items": {"enum": list(metrics[kind])}}}}

    is_generation = {"properties": {"of": {"const": "generation"}}, "required": ["of"]}
    table |= {"if": is_generation, "then": of("generation"), "else": of("reconstruction")}


def study_schema(options: dict[str, type[BaseModel]], metrics: dict[str, Sequence[str]]) -> Schema:
    """The schema of a study file; `options` of each data set, `metrics` by what a table is `of`."""
    made = _of(StudyConfig)
    _add_settings(made, run_schema())
    data = made["$defs"]["StudyData"]
    data["allOf"] = []
    for dataset, model in options.items():
        own = _of(model)
        made["$defs"] |= own.pop("$defs")
        del own["$schema"]
        made["$defs"][model.__name__] = own
        then: Schema = {"properties": {"options": {"$ref": f"#/$defs/{model.__name__}"}}}
        if "required" in own:
            then["required"] = ["options"]
        this = {"properties": {"dataset": {"const": dataset}}, "required": ["dataset"]}
        data["allOf"].append({"if": this, "then": then})
    _limit_metrics(made["$defs"]["StudyTable"], metrics)
    return made


def cluster_schema() -> Schema:
    """The schema of a cluster file."""
    return _of(ClusterConfig)
