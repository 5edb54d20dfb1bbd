"""ONNX Runtime: all that denoising asks of it; it is imported only when a network is opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unnoise.card import Card
from unnoise.errors import NetworkError

FloatArray = npt.NDArray[np.float32]

_ERRORS_ONLY = 3


class Session:
    """A network's graph, ready to run on ``threads`` cores.

    Raises:
        NetworkError: the runtime refuses the file, or its inputs are not those that the card promises.
    """

    def __init__(self, path: Path, card: Card, threads: int) -> None:
        import onnxruntime

        self.path = path
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        # Without them a third less memory is held, at the same speed (tiles of 1216, 1.3 M weights).
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        # Threads that wait in a loop take the processor from others, and from themselves between tiles.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = _ERRORS_ONLY
        try:
            self._session = onnxruntime.InferenceSession(
                os.fspath(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime's own classes are not public
            raise NetworkError(
                f"{path}: ONNX Runtime cannot load it: {error}",
                hint="Export it again, or take another network.",
            ) from error
        self._check_ports(card)

    def _check_ports(self, card: Card) -> None:
        inputs = {port.name: port for port in self._session.get_inputs()}
        outputs = [port.name for port in self._session.get_outputs()]
        expected = {"noisy", "sigma"} if card.sigma_input else {"noisy"}
        floats = all(port.type == "tensor(float)" and len(port.shape) == 4 for port in inputs.values())
        if set(inputs) != expected or "denoised" not in outputs or not floats:
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
        feed: dict[str, Any] = {"noisy": np.ascontiguousarray(noisy, dtype=np.float32)}
        if level is not None:
            feed["sigma"] = np.full((len(noisy), 1, 1, 1), level, dtype=np.float32)
        try:
            made: FloatArray = self._session.run(["denoised"], feed)[0]
        except Exception as error:  # as above
            if "alloc" in str(error).lower():
                raise MemoryError(f"a tile of {noisy.shape[3]} × {noisy.shape[2]}") from error
            raise NetworkError(
                f"{self.path}: failed on the shape {noisy.shape}: {error}", hint="Take another network."
            ) from error
        if made.shape != noisy.shape or not np.isfinite(made).all():
            raise NetworkError(
                f"{self.path}: gave the shape {made.shape} for {noisy.shape}, or values that are no numbers",
                hint="The network is damaged; take another.",
            )
        return made
