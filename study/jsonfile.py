"""JSON files read strictly: no duplicate keys, no NaN, and errors that say where."""

import json
import math
from pathlib import Path
from typing import Any

from study.errors import StudyError, describe_os_error


class _BadJson(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise _BadJson(f"the key '{key}' stands twice in one object; keep one of them")
        made[key] = value
    return made


def _constant(name: str) -> float:
    raise _BadJson(f"{name} is no JSON number; write a finite number or null")


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise _BadJson(f"{digits} is too large for a number; write a finite one or null")
    return number


def parse_json(text: str) -> Any:
    """Parse JSON strictly; ValueError says what is wrong with it."""
    return json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)


def read_json(path: Path) -> Any:
    """Read a JSON file strictly; StudyError names the file and, where known, line and column."""
    try:
        return parse_json(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise StudyError(
            f"{path}: not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except UnicodeDecodeError:
        raise StudyError(f"{path}: not UTF-8 text; a JSON file is wanted") from None
    except ValueError as error:
        raise StudyError(f"{path}: {error}") from None
    except RecursionError:
        raise StudyError(f"{path}: not a config: its brackets nest too deeply") from None
    except OSError as error:
        raise StudyError(describe_os_error(error)) from None


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that must hold an object."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise StudyError(f"{path}: an object {{...}} is wanted, not {type(value).__name__}")
    return value
