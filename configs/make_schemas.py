"""Write the JSON Schemas of the config files, `configs/schema/*.schema.json`.

`make schemas` calls it after a change of what a config file may hold. It stands here and not in
`study`, which knows neither the options of the data sets nor the metrics.
"""

from pathlib import Path

from data_prep.options import OPTIONS
from evaluate.registry import GENERATION_KEYS, KEYS
from study.errors import run_command
from study.files import to_json, write_text
from study.json_schema import cluster_schema, run_schema, study_schema

FOLDER = Path(__file__).resolve().parent / "schema"


def schemas() -> dict[str, str]:
    """File name -> content."""
    made = {
        "run": run_schema(),
        "study": study_schema(OPTIONS, {"reconstruction": KEYS, "generation": GENERATION_KEYS}),
        "cluster": cluster_schema(),
    }
    return {f"{kind}.schema.json": to_json(schema) for kind, schema in made.items()}


def main() -> None:
    for name, text in schemas().items():
        write_text(FOLDER / name, text)


if __name__ == "__main__":
    run_command("make_schemas", main)
