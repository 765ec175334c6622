"""What each setting of `engine` does to the speed of training, measured in turn in one run.

    python -m benchmarks.precision [--networks convnet64-128 mlp] [--settings channels_last bf16]

A VAE on random images in memory, forward, backward and Adam. The settings of a network take turns,
`--rounds` times, so that whatever else the machine does meets them all; a figure is the median
time of a step in plain float32 over the median with the setting: above 1 it is faster. Compiling is
not part of it. On a GPU where there is one.
"""

import argparse
import copy
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from pythae.data.datasets import DatasetOutput

from study.provenance import machine
from study.runs import parse_run
from study.schema_training import Engine
from train.execution import prepare_networks, settings, wait_for
from train.models import build_model

# Networks, shape of the images, batch size.
NETWORKS: dict[str, tuple[dict[str, Any], tuple[int, int, int], int]] = {
    "convnet64-128": ({"name": "convnet64", "width": 128}, (3, 64, 64), 64),
    "convnet64-32": ({"name": "convnet64", "width": 32}, (3, 64, 64), 64),
    "convnet28-32": ({"name": "convnet28", "width": 32}, (1, 28, 28), 64),
    "convnet56-16": ({"name": "convnet56", "width": 16}, (3, 56, 56), 32),
    "mlp": ({"name": "mlp", "encoder": [512, 256], "decoder": [256, 512]}, (1, 28, 28), 64),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "channels_last": {"channels_last": True},
    "tf32": {"precision": "tf32"},
    "tf32, channels_last": {"precision": "tf32", "channels_last": True},
    "bf16": {"precision": "bf16"},
    "bf16, channels_last": {"precision": "bf16", "channels_last": True},
    "compile": {"compile": True},
    "bf16, channels_last, compile": {"precision": "bf16", "channels_last": True, "compile": True},
    "deterministic": {"deterministic": True},
}


class Training:
    """A VAE in training on one batch, under one setting."""

    def __init__(self, model: Any, engine: Engine, x: torch.Tensor) -> None:
        self.model, self.engine = copy.deepcopy(model).to(x.device).train(), engine
        self.inputs = DatasetOutput(data=x)
        prepare_networks(self.model, engine, x.device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4)

    def seconds(self, steps: int) -> float:
        """Seconds a step, over `steps` of them after one that is not counted."""
        device = self.inputs["data"].device
        with settings(self.engine, device):
            for step in range(steps + 1):
                if step == 1:
                    wait_for(device)
                    started = time.perf_counter()
                self.optimizer.zero_grad()
                self.model(self.inputs).loss.backward()
                self.optimizer.step()
            wait_for(device)
        return (time.perf_counter() - started) / steps


def measure(
    network: str, wanted: list[str], rounds: int, steps: int, device: torch.device
) -> dict[str, float]:
    """Median seconds of a step under each setting, the plain one (`float32`) among them."""
    networks, shape, batch = NETWORKS[network]
    model = {"name": "VAEConfig", "latent_dim": 64}
    trainer = {"name": "BaseTrainerConfig"}
    raw = {"dataset": "none", "networks": networks, "model": model, "trainer": trainer}
    run = parse_run(raw, Path("benchmark")).with_shape(shape)
    torch.manual_seed(0)
    built, x = build_model(run), torch.rand(batch, *shape, device=device)
    trainings = {
        name: Training(built, Engine.model_validate(SETTINGS.get(name, {})), x)
        for name in ["float32", *wanted]
    }
    found: dict[str, list[float]] = {name: [] for name in trainings}
    for training in trainings.values():
        training.seconds(1)  # compiles, and lets cuDNN choose
    for _ in range(rounds):
        for name, training in trainings.items():
            found[name].append(training.seconds(steps))
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each turn")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    about = ", ".join(f"{key} {value}" for key, value in machine(device.type == "cpu").items())
    print(f"{about}; torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"| networks | ms a step | {' | '.join(arguments.settings)} |")
    print(f"| --- | --: | {' | '.join('--:' for _ in arguments.settings)} |")
    for network in arguments.networks:
        found = measure(network, arguments.settings, arguments.rounds, arguments.steps, device)
        ratios = [f"{found['float32'] / found[name]:.2f}" for name in arguments.settings]
        cells = " | ".join([f"{1000 * found['float32']:.1f}", *ratios])
        print(f"| {network} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
