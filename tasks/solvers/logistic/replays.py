"""Functions of a path that a GPU replays: all kernels of a call are started by one launch.

An iteration of conjugate gradients and a Newton step on a line are dozens of small kernels. Where classes times samples
are few, starting them takes the host longer than the device computes them. With the first tensors of its shapes such a
function is captured as a CUDA graph over copies of them, and replayed from then on. A graph whose results differ from
those of the function is not used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tasks.solvers.logistic import device_matrix

NEAR = 1e-3
"""Largest distance of a graph's results from the function's, relative to their length; both are sums of the same
float32 numbers, in orders that libraries choose."""

Tensors = tuple[Tensor, ...]
Function = Callable[..., Tensors]
"""From tensors, of which it may overwrite some, to tensors."""
Capture = Callable[[Callable[[], None]], Callable[[], None]]
"""From operations on fixed memory to their replay. They are computed once, so that libraries allocate what they need,
before they are captured, which computes nothing. Raises RuntimeError where they cannot be captured."""


@dataclass(frozen=True)
class Call:
    """A function called repeatedly on the same memory."""

    arguments: Tensors
    """Those of the function, which may have overwritten them."""
    replay: Callable[[], Tensors]
    captured: bool = False
    """Whether arguments and results are in memory that the next call overwrites."""

    def load(self, arguments: Tensors) -> None:
        """Replace the arguments."""
        copy_all(self.arguments, arguments)

    def kept(self, *results: Tensor) -> Tensors:
        """The results, in memory of their own."""
        if not self.captured:
            return results
        copies = {id(one): torch.empty_like(one) for one in results}
        kept = tuple(copies[id(one)] for one in results)
        copy_all(kept, results)
        return kept


@dataclass
class Replays:
    """The replayed functions of one path; `capture` is None where every call is computed operation by operation."""

    capture: Capture | None = None
    refused: str | None = None
    """Why graphs are not used, where one could not be captured or had other results."""
    _calls: dict[Hashable, Call] = field(default_factory=dict)
    _memory: dict[Hashable, Tensor] = field(default_factory=dict)
    """Of arguments and results: one of a shape for all functions, of which only one is in use at a time."""

    @classmethod
    def on(cls, device: torch.device, elements: int) -> Replays:
        """Graphs for arrays of `elements` (classes times samples) on a GPU, unless these are too many; else none."""
        return cls(on_card() if device.type == "cuda" and elements <= device_matrix.MOST_REPLAYED else None)

    def call(self, key: Hashable, function: Function, *arguments: Tensor) -> Call:
        """A call of `function`, not yet computed; `key` identifies it with everything that is not an argument."""
        case = (key, *((one.shape, one.dtype) for one in arguments))
        if case in self._calls:
            self._calls[case].load(arguments)
        elif self.capture is not None:
            self._try(case, self.capture, function, arguments)
        return self._calls.get(case) or Call(arguments, lambda: function(*arguments))

    def _try(self, case: Hashable, capture: Capture, function: Function, arguments: Tensors) -> None:
        """Capture the call, and compare a replay with the computation before it."""
        try:
            call = self._captured(capture, function, arguments)
        except RuntimeError as error:  # out of memory is one
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self.capture, self.refused = None, f"a CUDA graph cannot be captured ({reason})"
            return
        if call is None:
            self.capture, self.refused = None, "a CUDA graph has other results"
        else:
            self._calls[case] = call

    def _captured(self, capture: Capture, function: Function, arguments: Tensors) -> Call | None:
        """The call with its arguments loaded, or None if its results differ."""
        memory, found = self._memory, list[Tensor]()
        given = _fixed(memory, "arguments", arguments)

        def operations() -> None:
            results = function(*given)
            found[:] = found or _fixed(memory, "results", results)
            copy_all(tuple(found), results)

        copy_all(given, arguments)
        versions = [one._version for one in given]
        replay = capture(operations)
        overwritten = [one for one, before in zip(given, versions, strict=True) if one._version > before]
        results = tuple({id(one): one for one in (*found, *overwritten)}.values())
        expected = tuple(one.clone() for one in results)

        def replayed() -> Tensors:
            replay()
            return tuple(found)

        call = Call(given, replayed, captured=True)
        call.load(arguments)
        replay()
        equal = agree(results, expected)
        call.load(arguments)
        return call if equal else None


def _fixed(memory: dict[Hashable, Tensor], use: str, tensors: Tensors) -> Tensors:
    """Memory for each of the tensors; the same one for a tensor that occurs twice."""
    numbers: Counter[Hashable] = Counter()
    places: dict[int, Tensor] = {}
    for one in tensors:
        if id(one) not in places:
            kind = (use, one.shape, one.dtype)
            key = (*kind, numbers[kind])
            if key not in memory:
                memory[key] = torch.empty(one.shape, dtype=one.dtype, device=one.device)
            places[id(one)] = memory[key]
            numbers[kind] += 1
    return tuple(places[id(one)] for one in tensors)


def copy_all(targets: Tensors, sources: Tensors) -> None:
    """Copy tensors, by one operation for all of a type."""
    pairs = {id(target): (target, source) for target, source in zip(targets, sources, strict=True)}
    for kind in dict.fromkeys(target.dtype for target, _ in pairs.values()):
        chosen = [pair for pair in pairs.values() if pair[0].dtype == kind]
        torch._foreach_copy_([target for target, _ in chosen], [source for _, source in chosen])


def agree(found: Tensors, expected: Tensors) -> bool:
    """Whether results agree up to rounding. NaN agrees with nothing."""
    differences = torch._foreach_norm(torch._foreach_sub(list(found), list(expected)), dtype=torch.float64)
    lengths = torch._foreach_norm(list(expected), dtype=torch.float64)
    return bool((torch.stack(differences) <= NEAR * torch.stack(lengths)).all())


def on_card() -> Capture:
    """Capture of CUDA graphs that share the memory of their intermediate results.

    Not by `torch.cuda.graph`, which empties the cache of memory before each capture: a path has up to twenty.
    """
    pool = torch.cuda.graph_pool_handle()

    def captured(operations: Callable[[], None]) -> Callable[[], None]:
        side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            operations()
            graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            try:
                operations()
            finally:
                graph.capture_end()
        torch.cuda.current_stream().wait_stream(side)
        return graph.replay

    return captured
