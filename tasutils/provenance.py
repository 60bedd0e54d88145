"""What a number depends on beside its inputs: versions, commit, memory."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "tasutils", "numpy", "pandas", "pyarrow", "pycocotools", "torch", "torchvision",
    "transformers", "open_clip_torch", "segment-anything", "spacy", "nltk",
)  # fmt: skip


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on; absent ones left out."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def git_state(folder: Path) -> tuple[str | None, bool | None]:
    """Commit and whether tracked files differ from it; (None, None) outside a repository."""

    def git(*command: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *command],
                capture_output=True, text=True, timeout=20, check=True,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    changes = git("status", "--porcelain", "--untracked-files=no")
    return git("rev-parse", "HEAD"), None if changes is None else bool(changes)


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def device_name(device: str) -> str:
    """The name of a GPU, or of the processor."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    if (info := Path("/proc/cpuinfo")).is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory_mib() -> dict[str, float]:
    """Highest memory use of this process so far in MiB: `host`, and `cuda` where it was used."""
    peaks: dict[str, float] = {}
    try:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peaks["host"] = round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)
    except ImportError:  # Windows
        with suppress(ImportError, AttributeError):
            import psutil  # type: ignore[import-untyped]

            peaks["host"] = round(psutil.Process().memory_info().peak_wset / (1 << 20), 1)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        peaks["cuda"] = round(torch.cuda.max_memory_allocated() / (1 << 20), 1)
    return peaks
