"""How networks run on a device: torch's switches, memory format, bf16, torch.compile.

Pythae's models stay as they are. A network (encoder, decoder, discriminator) gets another `forward`
on the instance: names in its state dict, its parameters and the hooks on it are what they were, and
what it gives is float32, so that losses, KL and sampling are computed in float32 always.
"""

import contextlib
import os
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseDiscriminator, BaseEncoder
from torch import nn
from torch._functorch import config as aot_config

from study.errors import RunFailed, StudyError, one_line
from study.progress import say
from study.pythae_json import TRAINER_OF
from study.schema_training import Engine
from train.models.vaegan import PARTS

# The size that torch's notes on reproducibility give.
_CUBLAS = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


@contextlib.contextmanager
def settings(engine: Engine, device: torch.device) -> Iterator[None]:
    """torch's global switches as `engine` wants them on `device`; on leaving, as they were before.

    Enter it before anything is computed on a GPU: cuBLAS reads its environment once. RunFailed
    where `engine.deterministic` meets an operation that has no deterministic form.
    """
    gpu, tf32 = device.type == "cuda", engine.precision == "tf32"
    cudnn = torch.backends.cudnn
    with contextlib.ExitStack() as stack:
        if gpu:
            # torch leaves the second of these on by itself.
            stack.enter_context(_switched(torch.backends.cuda.matmul, "allow_tf32", tf32))
            stack.enter_context(_switched(cudnn, "allow_tf32", tf32))
            stack.enter_context(_switched(cudnn, "deterministic", engine.deterministic))
            # It times the algorithms for each new shape and takes the fastest.
            stack.enter_context(_switched(cudnn, "benchmark", not engine.deterministic))
        if engine.compile:
            # VAEGAN goes backward through one graph three times; buffers given away are there once.
            stack.enter_context(_switched(aot_config, "donated_buffer", False))
        if engine.deterministic:
            stack.enter_context(_deterministic(gpu))
        yield


@contextlib.contextmanager
def _switched(owner: Any, name: str, value: bool) -> Iterator[None]:
    # Some releases announce another way to switch TF32, which older ones have not and which must
    # not be mixed with this one.
    @contextlib.contextmanager
    def quietly() -> Iterator[None]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*to control TF32 behavior")
            yield

    with quietly():
        before = getattr(owner, name)
        setattr(owner, name, value)
    try:
        yield
    finally:
        with quietly():
            setattr(owner, name, before)


@contextlib.contextmanager
def _deterministic(gpu: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    environment = {name: os.environ.get(name) for name in _CUBLAS} if gpu else {}
    os.environ.update({name: _CUBLAS[name] for name in environment})
    torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        raise RunFailed(
            f"engine.deterministic: {one_line(error).split('. ')[0]}; false lets it run"
        ) from error
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        for name, value in environment.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def device_of(trainer: Any) -> torch.device:
    """Where a run with this config of a Pythae trainer computes: the GPU where there is one."""
    on_gpu = torch.cuda.is_available() and not trainer.no_cuda
    return torch.device("cuda" if on_gpu else "cpu")


def wait_for(device: torch.device) -> None:
    """Until all work that a GPU was given is done, as whoever takes the time has to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def prepare_networks(model: Any, engine: Engine, device: torch.device) -> None:
    """Make the networks of `model`, which is on `device`, run as `engine` says.

    Needs `settings(engine, device)` around it and the training. StudyError where the device has no
    bfloat16. Where torch.compile does not work they run uncompiled, with one line that says so.
    """
    bf16 = engine.precision == "bf16"
    if bf16 and device.type == "cuda" and not torch.cuda.is_bf16_supported(False):
        raise StudyError(
            f"engine.precision: {torch.cuda.get_device_name(device)} has no bfloat16; "
            f"float32 is meant"
        )
    if not (bf16 or engine.channels_last or engine.compile):
        return
    compiler = None
    if engine.compile:
        # The trainers of several optimizers go backward through one graph more than once.
        compiler = Compiler(retain_graph=model.model_config.name in TRAINER_OF)
    for part in PARTS:
        network = getattr(model, part, None)
        # FactorVAE's discriminator, a few small layers on the latent, is no such network.
        if isinstance(network, BaseEncoder | BaseDecoder | BaseDiscriminator):
            network.forward = Execution(network, bf16, engine.channels_last, compiler)


class Execution:
    """What stands in for the `forward` of one network: images or latents in, `ModelOutput` out."""

    def __init__(
        self, network: nn.Module, bf16: bool, channels_last: bool, compiler: "Compiler | None"
    ) -> None:
        self.network = network
        self.bf16 = bf16
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.compiler = compiler
        self.compiled: dict[Any, Callable[..., dict[str, torch.Tensor]]] = {}
        if channels_last:
            network.to(memory_format=torch.channels_last)
        if bf16:
            for module in network.modules():
                if isinstance(module, nn.Sigmoid):
                    module.register_forward_pre_hook(_in_float32)

    def __call__(self, x: torch.Tensor, **options: Any) -> ModelOutput:
        if x.dim() == 4:
            x = x.contiguous(memory_format=self.memory_format)
        run = self.plain
        if self.compiler is not None:
            x = x if x.dim() == 4 else x.contiguous()
            run = self._compiled(x, options)
        return ModelOutput(run(x, **options))

    def plain(self, x: torch.Tensor, **options: Any) -> dict[str, torch.Tensor]:
        """The network's own `forward`, its outputs as plain tensors in a plain dict.

        A `ModelOutput` loses its attributes under torch.compile.
        """
        forward = type(self.network).forward
        if not self.bf16:
            return dict(forward(self.network, x, **options))
        with torch.autocast(x.device.type, torch.bfloat16):
            output = forward(self.network, x, **options)
        return {name: value.float() for name, value in output.items()}

    def _compiled(self, x: torch.Tensor, options: dict[str, Any]) -> Callable[..., Any]:
        """`plain` compiled for calls like this one, tried out where it is the first of its kind.

        Each kind has one compiled function of its own: what a batch is computed with then depends
        on the batch alone, not on those before it, as a run that goes on from a checkpoint needs.
        """
        grad = torch.is_grad_enabled()
        kind = (self.network.training, grad, x.shape, x.dtype, x.requires_grad, repr(options))
        if kind not in self.compiled:
            self.compiled[kind] = self.compiler.compile(self, x, options)
        return self.compiled[kind]

    def __getstate__(self) -> dict[str, Any]:
        # A deep copy of a network compiles anew: what is compiled has the original's weights in it.
        return self.__dict__ | {"compiled": {}}


def _in_float32(module: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    """A Sigmoid of bfloat16 is 1 from 6.3 on: no gradient, and the -100 of torch's BCE."""
    return (inputs[0].float(),)


class Compiler:
    """torch.compile for the networks of a model, but for the kinds of batch where it fails."""

    def __init__(self, retain_graph: bool) -> None:
        self.retain_graph = retain_graph
        self.said = False

    def compile(
        self, execution: Execution, x: torch.Tensor, options: dict[str, Any]
    ) -> Callable[..., Any]:
        """`execution.plain`, compiled for inputs like `x` if that works, forward and backward.

        Training cannot leave a backward pass that fails, and whether one does may depend on the
        batch's size (torch 2.7.1 writes C++ that no compiler takes for some): hence a trial with
        zeros of the very shape.
        """
        plain = execution.plain

        def forward(x: torch.Tensor, **options: Any) -> dict[str, torch.Tensor]:
            return plain(x, **options)

        # torch counts what it compiled by code object, and stops at eight: each has its own.
        code = forward.__code__.replace()
        own = types.FunctionType(code, globals(), closure=forward.__closure__)
        compiled = torch.compile(own, fullgraph=True, dynamic=False)
        try:
            self._try_out(compiled, execution.network, x, options)
        except Exception as error:
            # What torch has to say goes on over pages.
            reason = f"{type(error).__name__}: {one_line(error)[:120]}"
            if not self.said:
                say(f"engine.compile: the networks run uncompiled, since it fails: {reason}")
            self.said = True
            return plain
        return compiled

    def _try_out(
        self,
        run: Callable[..., Any],
        network: nn.Module,
        x: torch.Tensor,
        options: dict[str, Any],
    ) -> None:
        """Run it forward and backward on zeros like `x`; weights, buffers, RNG states stay."""
        buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
        zeros = torch.zeros_like(x, requires_grad=x.requires_grad)
        with (
            torch.random.fork_rng([x.device] if x.is_cuda else []),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # torch advises TF32, say, where float32 was asked for
            try:
                outputs = run(zeros, **options)
                if torch.is_grad_enabled():
                    wanted = [zeros, *network.parameters()]
                    wanted = [tensor for tensor in wanted if tensor.requires_grad]
                    total = sum(output.sum() for output in outputs.values())
                    torch.autograd.grad(
                        total, wanted, retain_graph=self.retain_graph, allow_unused=True
                    )
            finally:
                with torch.no_grad():
                    for buffer, kept in buffers:
                        buffer.copy_(kept)
