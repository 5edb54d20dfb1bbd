"""What runs a network's graph: ONNX Runtime, or OpenVINO where it was asked for.

A backend is a class in :data:`BACKENDS`; its package is imported only when a network is opened.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from unnoise.card import Card
from unnoise.errors import ConfigError, MissingExtra, NetworkError, UnknownName

FloatArray = npt.NDArray[np.float32]

AUTO, FLOAT32, BFLOAT16 = "auto", "float32", "bfloat16"
PRECISIONS = (AUTO, FLOAT32, BFLOAT16)
"""What the arithmetic may be done in; auto is the fastest that does no harm, see :func:`resolved`."""

LOSS = "precision loss (dB)"
"""The entry of a card's scores for what a precision loses: its name -> dB, the most at any level of noise."""
LARGEST_LOSS = 0.05
"""dB that nobody sees."""

_FATAL_ONLY = 4


class Backend(Protocol):
    """A network's graph, ready to run on some cores."""

    def __init__(self, path: Path, threads: int, precision: str) -> None: ...

    @staticmethod
    def precisions() -> tuple[str, ...]:
        """What it computes in on this processor, the fastest first."""
        ...

    def ports(self) -> tuple[dict[str, bool], list[str]]:
        """Names of inputs, with whether each is float32 (N, C, H, W); names of outputs."""
        ...

    def run(self, feed: Mapping[str, FloatArray]) -> FloatArray:
        """The output ``denoised``; any exception that the package likes."""
        ...


class OnnxRuntime:
    """https://onnxruntime.ai on the CPU."""

    def __init__(self, path: Path, threads: int, precision: str) -> None:
        import onnxruntime

        if precision != FLOAT32:
            raise ConfigError(
                f"ONNX Runtime has no {precision} arithmetic on this processor",
                hint="Take --precision float32, or --backend openvino.",
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        # Memory that goes back to the system after every tile costs a third of the speed when it is
        # taken again; patterns are kept for every shape that ever came, and gain nothing.
        options.enable_cpu_mem_arena = True
        options.enable_mem_pattern = False
        # Threads that wait in a loop take the processor from others, and from themselves between tiles.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # What goes wrong is raised, too; a line of the runtime's own would stand beside ours.
        options.log_severity_level = _FATAL_ONLY
        providers = [("CPUExecutionProvider", {"arena_extend_strategy": "kSameAsRequested"})]
        self._session = onnxruntime.InferenceSession(os.fspath(path), options, providers=providers)

    @staticmethod
    def precisions() -> tuple[str, ...]:
        """It has no kernels for less on processors."""
        return (FLOAT32,)

    def ports(self) -> tuple[dict[str, bool], list[str]]:
        """Inputs and outputs."""
        inputs = {
            port.name: port.type == "tensor(float)" and len(port.shape) == 4
            for port in self._session.get_inputs()
        }
        return inputs, [port.name for port in self._session.get_outputs()]

    def run(self, feed: Mapping[str, FloatArray]) -> FloatArray:
        """One pass."""
        made: FloatArray = self._session.run(["denoised"], dict(feed))[0]
        return made


class OpenVino:
    """https://docs.openvino.ai on the CPU; told a precision, since it would take bfloat16 where it can."""

    def __init__(self, path: Path, threads: int, precision: str) -> None:
        if precision not in self.precisions():
            raise ConfigError("this processor has no bfloat16 arithmetic", hint="Take --precision float32.")
        core = _openvino_core()
        hint = {FLOAT32: "f32", BFLOAT16: "bf16"}[precision]
        compiled = core.compile_model(
            core.read_model(os.fspath(path)),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": hint,
                "INFERENCE_NUM_THREADS": threads,
                "PERFORMANCE_HINT": "LATENCY",
                # It would place the threads of all workers on the same cores.
                "ENABLE_CPU_PINNING": False,
            },
        )
        self._model = compiled
        self._request = compiled.create_infer_request()

    @staticmethod
    def precisions() -> tuple[str, ...]:
        """bfloat16 where the processor has it."""
        able = _openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return (BFLOAT16, FLOAT32) if "BF16" in able else (FLOAT32,)

    def ports(self) -> tuple[dict[str, bool], list[str]]:
        """Inputs and outputs."""
        inputs = {
            _name(port): port.get_element_type().get_type_name() == "f32"
            and port.get_partial_shape().rank.get_length() == 4
            for port in self._model.inputs
        }
        return inputs, [_name(port) for port in self._model.outputs]

    def run(self, feed: Mapping[str, FloatArray]) -> FloatArray:
        """One pass."""
        made = self._request.infer(dict(feed), share_inputs=True)["denoised"]
        return np.array(made)  # its own memory is used again in the next pass


def _openvino_core() -> Any:
    try:
        import openvino
    except ImportError:
        raise MissingExtra("the OpenVINO backend", "openvino") from None
    return openvino.Core()


def _name(port: Any) -> str:
    """A port's name; where two tensors became one it has several, and ours is the one that counts."""
    names = sorted(port.get_names())
    return next((name for name in names if name in ("noisy", "sigma", "denoised")), names[0] if names else "")


BACKENDS: dict[str, type[Backend]] = {"onnxruntime": OnnxRuntime, "openvino": OpenVino}
"""Name -> what runs a graph; a parity test runs them all."""


def resolved(precision: str, backend: str, card: Card) -> str:
    """What ``auto`` is: the fastest that the backend has here and that the card says is harmless.

    The card must say what it loses, under :data:`LOSS`, and that may be :data:`LARGEST_LOSS` at most; float32
    is always harmless. Any other precision is itself.
    """
    if precision != AUTO:
        return precision
    losses = card.scores.get(LOSS)
    known = losses if isinstance(losses, Mapping) else {}
    able = BACKENDS[backend].precisions()
    return next((each for each in able if each != FLOAT32 and _is_small(known.get(each))), FLOAT32)


def _is_small(loss: object) -> bool:
    return isinstance(loss, int | float) and not isinstance(loss, bool) and loss <= LARGEST_LOSS


class Session:
    """A network's graph in a backend, checked against its card.

    Attributes:
        path: of the network's file.
        precision: what is computed in, never ``auto``.

    Raises:
        NetworkError: the backend refuses the file, or its inputs are not those that the card promises.
        ConfigError: unknown backend or precision, or one that is not to be had here.
    """

    def __init__(
        self,
        path: Path,
        card: Card,
        threads: int,
        *,
        backend: str = "onnxruntime",
        precision: str = FLOAT32,
    ) -> None:
        if backend not in BACKENDS:
            raise UnknownName("backend", backend, BACKENDS)
        if precision not in PRECISIONS:
            raise UnknownName("precision", precision, PRECISIONS)
        self.path = path
        self.precision = resolved(precision, backend, card)
        self._open = partial(BACKENDS[backend], path, threads, self.precision)
        try:
            self._backend = self._open()
        except ConfigError:
            raise
        except Exception as error:  # the runtimes' own classes are not public
            raise NetworkError(
                f"{path}: {backend} cannot load it: {_first_line(error)}",
                hint="Export it again, or take another network.",
            ) from error
        self._check_ports(card)

    def _check_ports(self, card: Card) -> None:
        inputs, outputs = self._backend.ports()
        expected = {"noisy", "sigma"} if card.sigma_input else {"noisy"}
        if set(inputs) != expected or "denoised" not in outputs or not all(inputs.values()):
            raise NetworkError(
                f"{self.path}: takes {sorted(inputs)} and gives {outputs}; its card promises "
                f"{sorted(expected)} and 'denoised', float (N, C, H, W)",
                hint="Export it again with: unnoise export RUN -o NETWORK.onnx",
            )

    def run(self, noisy: FloatArray, level: float | None) -> FloatArray:
        """One pass.

        Args:
            noisy: float32 (N, 3, H, W), [0, 1].
            level: sigma in the units of ``noisy``, for networks that take it.

        Raises:
            MemoryError: there is not enough memory for this size.
            NetworkError: anything else went wrong.
        """
        feed = {"noisy": np.ascontiguousarray(noisy, dtype=np.float32)}
        if level is not None:
            feed["sigma"] = np.full((len(noisy), 1, 1, 1), level, dtype=np.float32)
        made = self._run(feed)
        if made is None:
            # What it took for a tile that failed, it would hold while a smaller one is tried.
            del self._backend
            self._backend = self._open()
            raise MemoryError(f"a tile of {noisy.shape[3]} × {noisy.shape[2]}")
        if made.shape != noisy.shape or not np.isfinite(made.sum()):
            raise NetworkError(
                f"{self.path}: gave the shape {made.shape} for {noisy.shape}, or values that are no numbers",
                hint="The network is damaged; take another.",
            )
        return made

    def _run(self, feed: Mapping[str, FloatArray]) -> FloatArray | None:
        """The output, or None for want of memory: an exception would hold what was taken until then."""
        try:
            return self._backend.run(feed)
        except Exception as error:  # as above
            if isinstance(error, MemoryError) or "alloc" in str(error).lower():
                return None
            raise NetworkError(
                f"{self.path}: failed on the shape {feed['noisy'].shape}: {_first_line(error)}",
                hint="Take another network.",
            ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
