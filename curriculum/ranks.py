"""Several processes that train or score one run together, as `torchrun` starts them: who does which part, and how parts come together.

Every process holds all data and walks the same schedule; each computes its share of every batch. A single process is the one rank of
its own company, and nothing here costs it anything.
"""

from __future__ import annotations

import gc
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Ranks:
    """This process's place (`rank`, 0 to size - 1) among `size` processes. Every method is called by all of them, in the same order."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        """The one that writes."""
        return self.rank == 0

    def mine(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """This rank's share of some rows: in order, each row in exactly one share, sizes at most 1 apart."""
        return rows if self.size == 1 else np.array_split(rows, self.size)[self.rank]

    def wrap(self, net: nn.Module) -> nn.Module:
        """The network as it is trained: gradients are averaged over the ranks."""
        return net if self.size == 1 else DistributedDataParallel(net)

    def alone(self, net: nn.Module) -> AbstractContextManager[Any]:
        """Within it, gradients stay with this rank."""
        return net.no_sync() if isinstance(net, DistributedDataParallel) else nullcontext()

    def gather(self, part: Tensor, count: int) -> Tensor:
        """The parts (m, ...) of all ranks, made of `mine` of `count` rows, as one tensor (count, ...)."""
        if self.size == 1:
            return part
        sizes = [len(rows) for rows in np.array_split(np.arange(count), self.size)]
        padded = torch.zeros((max(sizes), *part.shape[1:]), dtype=part.dtype, device=part.device)
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([each[:size] for each, size in zip(parts, sizes, strict=True)])

    def mean(self, value: float) -> float:
        """Over the ranks."""
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return float(total) / self.size

    def any(self, flag: bool) -> bool:
        """Whether it is so for one of the ranks."""
        return self.mean(float(flag)) > 0 if self.size > 1 else flag

    def share(self, value: T) -> T:
        """What the first rank has; of the others the value doesn't count."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def agree(self, net: nn.Module) -> None:
        """Batch norm's running figures, which each rank has from its own share, become the first rank's everywhere."""
        for buffer in net.buffers() if self.size > 1 else ():
            dist.broadcast(buffer, src=0)


ALONE = Ranks()


def join() -> Ranks:
    """Take one's place among the processes that `torchrun` has started; alone without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or not {"RANK", "MASTER_ADDR"} <= os.environ.keys():
        return ALONE
    patience = timedelta(hours=2)  # while the first decodes a large data set
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=patience)
    return Ranks(dist.get_rank(), dist.get_world_size())


def leave() -> None:
    """Give the place back.

    A network in a circle of references would keep the group's threads beyond this, and they abort a process that ends: so garbage goes first.
    """
    if dist.is_initialized():
        gc.collect()
        dist.destroy_process_group()


def on_device(ranks: Ranks, device: torch.device) -> Ranks:
    """The same ranks, computing on this kind of device; each on a GPU of its own."""
    if device.type == "cuda" and ranks.size > 1:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    return replace(ranks, device=device)
