"""Frozen forward passes as a replayed CUDA graph, where its features are equal bit for bit and it is faster.

Starting the kernels of a network one by one takes the host up to ten milliseconds a batch, under the interpreter lock
that decoding threads also need. A graph starts all of them at once, for batches of one shape. Whether that pays depends
on network, batch and device, so it is measured on the device itself, once batches have had the same shape for a while.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor

CONSIDERED_AFTER = 32
"""Batches of a shape before a graph of it is tried: the trial takes as long as about half as many batches."""
WARM = 2
"""Forward passes before the capture, in which libraries allocate their workspaces."""
TIMED = 3
"""Batches that are timed together."""
TURNS = 2
"""Number of timings of each, in alternation; the shortest is used."""

Forward = Callable[[Tensor], Tensor]
Capture = Callable[[Forward, Tensor], Forward]
"""From a forward pass and a batch to the function that replays it for batches of the same shape. Raises RuntimeError
where the pass cannot be captured."""


@dataclass(frozen=True)
class GraphDecision:
    """Whether batches of one size are computed by a graph, and why."""

    batch: int
    kept: bool
    reason: str

    def __str__(self) -> str:
        how = "CUDA graph" if self.kept else "operation by operation"
        return f"{how} for batches of {self.batch}: {self.reason}"


@dataclass
class GraphedForward:
    """Forward passes, computed by a graph where it has been found equal and faster.

    `capture` is None on devices without graphs, where nothing is tried. `synchronise` waits for the device; only a
    trial calls it.
    """

    capture: Capture | None = None
    synchronise: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.perf_counter
    enabled: bool = False
    decisions: list[GraphDecision] = field(default_factory=list)
    """Decisions since the last `release`."""
    _seen: Counter[Hashable] = field(default_factory=Counter)
    _case: Hashable = None
    _case_size: int = 0
    _graph: Forward | None = None

    @classmethod
    def on(cls, device: torch.device) -> GraphedForward:
        """For a device; `enabled` has to be set."""
        if device.type != "cuda":
            return cls()
        return cls(captured, lambda: torch.cuda.synchronize(device))

    def __call__(self, key: Hashable, forward: Forward, batch: Tensor) -> Tensor:
        """`forward(batch)`, or its replay; `key` identifies the pass. The graph is released when the pass raises."""
        if self.capture is None or not self.enabled:
            return forward(batch)
        case = (key, batch.shape, batch.stride())
        if self._graph is not None and case == self._case:
            return self._graph(batch)
        try:
            features = forward(batch)
        except BaseException:  # e.g. for lack of memory, of which the graph holds some
            self._graph = None
            raise
        self._seen[case] += 1
        if self._seen[case] == CONSIDERED_AFTER and (self._graph is None or len(batch) > self._case_size):
            self._graph = None  # its memory is needed for the next graph
            self._graph, decision = self._tried(self.capture, forward, batch, features)
            self._case, self._case_size = case, len(batch)
            self.decisions.append(decision)
        return features

    def release(self) -> tuple[GraphDecision, ...]:
        """Free the graph's memory; return the decisions since the last call."""
        found = tuple(self.decisions)
        self._graph = None
        self._seen.clear()
        self.decisions.clear()
        return found

    def _tried(
        self, capture: Capture, forward: Forward, batch: Tensor, features: Tensor
    ) -> tuple[Forward | None, GraphDecision]:
        """The graph, or None where it is not equal or not faster; `features` are those of `batch`."""
        try:
            graph = capture(forward, batch)
            other = batch.bitwise_not()
            equal = torch.equal(graph(batch), features) and torch.equal(graph(other), forward(other))
            if not equal:
                return None, GraphDecision(len(batch), False, "the features of a CUDA graph differ")
            eager, replayed = self._times(forward, batch), self._times(graph, batch)
            for _ in range(TURNS - 1):
                eager, replayed = min(eager, self._times(forward, batch)), min(replayed, self._times(graph, batch))
        except RuntimeError as error:  # out of memory is one
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            return None, GraphDecision(len(batch), False, f"a CUDA graph cannot be captured ({reason})")
        faster = replayed < eager
        reason = f"{1e3 * replayed:.3g} ms a batch by a CUDA graph, {1e3 * eager:.3g} without; equal features"
        return graph if faster else None, GraphDecision(len(batch), faster, reason)

    def _times(self, forward: Forward, batch: Tensor) -> float:
        """Seconds per batch."""
        self.synchronise()
        begun = self.clock()
        for _ in range(TIMED):
            forward(batch)
        self.synchronise()
        return (self.clock() - begun) / TIMED


def captured(forward: Forward, batch: Tensor) -> Forward:
    """Capture `forward` on the device of `batch`.

    Other threads may use the device meanwhile, as those do that allocate pinned memory for decoded images. The graph
    holds the memory of one forward pass until it is dropped.
    """
    given = batch.clone()
    side = torch.cuda.Stream(batch.device)  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream(batch.device))
    with torch.cuda.stream(side):
        for _ in range(WARM):
            forward(given)
    torch.cuda.current_stream(batch.device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        features = forward(given)

    def replay(pixels: Tensor) -> Tensor:
        given.copy_(pixels)
        graph.replay()
        return features.clone()

    return replay
