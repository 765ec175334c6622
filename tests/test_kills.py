"""`benchmarks/kills.py` in small: killed runs end as the one that nobody disturbed."""

import shutil
from pathlib import Path

import pytest
import torch

from benchmarks.kills import trial
from benchmarks.same_bits import differences


@pytest.mark.parametrize("model", ["VQVAE-EMA", "VAEGAN"])
def test_killed_run_ends_as_the_undisturbed_one(model: str, tmp_path: Path) -> None:
    found = trial(model, tmp_path, kills=4, per_run=4, epochs=6)
    assert found.kills.total() == 4
    assert found.differences == []
    whole, *killed = found.steps
    assert whole == 6 * 6
    # What was trained between a checkpoint and a kill is trained again; none twice but that.
    assert all(steps >= whole for steps in killed)


def test_one_bit_is_a_difference(tmp_path: Path) -> None:
    """Of each thing that is compared."""
    found = trial("AE", tmp_path, kills=1, per_run=1, epochs=1)
    assert found.differences == []
    one, two = tmp_path / "undisturbed", tmp_path / "another"
    shutil.copytree(one, two)
    assert differences(one, two) == []
    history = two / "history.jsonl"
    history.write_text(history.read_text().replace('"epoch": 1', '"epoch": 2'))
    places = {
        "final_model/model.pt": "model_state_dict",
        "last_model.pt": "model_state_dict",
    }
    for name, key in places.items():
        content = torch.load(two / name, weights_only=True)
        first = next(value for value in content[key].values() if value.is_floating_point())
        first.view(-1)[0] *= -1
        torch.save(content, two / name)
    content = torch.load(two / "checkpoint.pt", weights_only=True)
    content["state"]["lines"] = []
    content["state"]["seconds"] = 0.0
    torch.save(content, two / "checkpoint.pt")
    unlike = [where.split("/model_state")[0] for where in differences(one, two)]
    assert unlike == [
        "/checkpoint.pt/state/lines",
        "/final_model/model.pt",
        "/history.jsonl/0/epoch",
        "/last_model.pt",
    ]
