"""Running networks: as many items at a time as memory lets, in a float type, on a layout."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tasutils.errors import TasError

if TYPE_CHECKING:
    import torch

    from tasutils.config import ComputeConfig, Precision

R = TypeVar("R")
# a matrix product with fewer rows is rounded in another way than one with more
FEWEST = 8
# what PyTorch's CPU allocator and cuBLAS say in a bare RuntimeError
_NO_MEMORY = ("not enough memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


class Batches:
    """Calls a network on a few items at a time; too many for memory are halved, for good.

    what: the network's name in the error; size: items at a time at most; precision: see `autocast`.
    """

    def __init__(
        self, what: str, size: int, device: str = "cpu", precision: "Precision" = "float32"
    ) -> None:
        self.what, self.size, self.device = what, size, device
        self.precision: Precision = precision
        self.short = False  # has memory not sufficed

    def __call__(self, items: Any, run: Callable[[Any], R]) -> list[R]:
        """What `run` gives for one slice of `items` after another, none much smaller than others.

        Without gradients. Raises TasError when memory does not suffice for one item alone.
        """
        import torch

        results: list[R] = []
        done = 0
        while left := len(items) - done:
            step = -(-left // -(-left // self.size))
            try:
                with torch.inference_mode(), autocast(self.device, self.precision):
                    results.append(run(items[done : done + step]))
                done += step
                continue
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
            # past the error, which keeps the batch's tensors alive
            if step == 1 and self.short:
                raise TasError(
                    f"{self.what} runs out of memory on {self.device} with a single item; free "
                    "memory, or choose a smaller model or a compute.precision of 16 bits"
                )
            self.short, self.size = True, max(step // 2, 1)
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()
        return results


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, the host's or a device's, does not suffice."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(told in str(error) for told in _NO_MEMORY)


def autocast(device: str, precision: "Precision") -> AbstractContextManager[Any]:
    """Matrix products and convolutions in the float type `precision` on `device`."""
    import torch

    dtype = getattr(torch, precision)
    return torch.autocast(torch.device(device).type, dtype, enabled=precision != "float32")


@contextmanager
def one_thread() -> Iterator[None]:
    """Run small work of PyTorch's on the CPU in one thread: more would wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def tune(tower: "torch.nn.Module", compute: "ComputeConfig") -> None:
    """Apply the settings `channels_last` and `compile` to an image tower, which stays the same."""
    import torch

    if compute.channels_last:
        tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if compute.compile:
        tower.compile()


def unit_rows(
    items: Any, embed: Callable[[Any], "torch.Tensor"], batches: Batches, dim: int, fewest: int = 1
) -> NDArray[np.float32]:
    """Features of n items, L2-normalised over their last axis, float32 on the CPU.

    embed: some items, a slice of them -> (m, ..., dim); no item gives (0, dim). fewest: a batch of
    a tensor is filled up to so many, if there are as many and memory suffices, see `FEWEST`.
    """
    import torch

    fewest = min(fewest, len(items))

    def rows(batch: Any) -> NDArray[np.float32]:
        n = len(batch)
        if n < fewest and not batches.short:
            batch = torch.cat([batch, batch[-1:].expand(fewest - n, *batch.shape[1:])])
        found = torch.nn.functional.normalize(embed(batch).float(), dim=-1)
        return found[:n].cpu().numpy()

    found = batches(items, rows)
    return np.concatenate(found) if found else np.zeros((0, dim), dtype=np.float32)
