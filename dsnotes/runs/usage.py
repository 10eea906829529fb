"""What a kernel has used; run in the kernel after the notebook's last cell."""

from __future__ import annotations

import platform
import sys
import time
from importlib import metadata


def usage() -> dict:
    """Device, peak memory in MB (process and GPU), CPU seconds, versions of imported packages."""
    found = {"device": "cpu", "peak_memory_mb": _peak_memory(), "cpu_seconds": round(time.process_time(), 1)}
    found["versions"] = {"python": platform.python_version()}
    for name in ("dsnotes", "torch", "numpy", "scipy"):
        if name in sys.modules:
            found["versions"][name] = getattr(sys.modules[name], "__version__", None) or metadata.version(name)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        found["device"] = torch.cuda.get_device_name()
        found["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return found


def _peak_memory() -> int | None:
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))
