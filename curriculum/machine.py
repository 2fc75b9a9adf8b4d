"""What this machine computes with, and which ImageNet weights it has: `python -m curriculum.machine` prints it as JSON.

A process of its own, so that who asks needn't import torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from pathlib import Path
from typing import Any

import torch

from curriculum.architectures import PLANS
from curriculum.model import autocast, pick_device
from curriculum.vocabulary import Architecture

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


def machine(device: torch.device) -> dict[str, Any]:
    """What a device computes with; precision: what autocast is set to just now."""
    has = torch.cpu.get_capabilities()
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "bfloat16_instructions": [name for name in ("avx512_bf16", "amx_bf16") if has.get(name)],
        "torch": torch.__version__,
        "device": device.type,
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "precision": "bfloat16" if torch.is_autocast_enabled(device.type) else "float32",
    }


def _cpu_name() -> str:
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8", errors="replace").splitlines() if listed.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def published_weights(architecture: Architecture = "resnet18") -> dict[str, Any]:
    """Where torch keeps a network's ImageNet weights; state: there, not there, or damaged (its SHA-256 isn't the one in its name)."""
    if PLANS[architecture].published is None:
        return {"path": "", "state": "not there"}
    path = PLANS[architecture].downloaded
    if not path.is_file():
        return {"path": str(path), "state": "not there"}
    with path.open("rb") as file:
        whole = hashlib.file_digest(file, "sha256").hexdigest().startswith(path.stem.rpartition("-")[2])
    return {"path": str(path), "state": "there" if whole else "damaged"}


def main() -> None:
    device = pick_device("auto")
    with autocast(device):
        found = machine(device)
    weights = {architecture: published_weights(architecture) for architecture, plan in PLANS.items() if plan.published}
    print(json.dumps({**found, "cuda": torch.version.cuda, "driver": NVIDIA_DRIVER.exists(), "weights": weights}))


if __name__ == "__main__":
    main()
