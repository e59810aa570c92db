"""Run the parts of the proof in sequence, each in a process with a time limit: see `tests/gpu/prove.sh`."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from types import FrameType

from pydantic import TypeAdapter

from tests.gpu.proof.parts import PARTS
from tests.gpu.proof.record import Check, NeedsDeviceError, Part, PartOutcome, Proof, Setting, Status, markdown

WHOLE_S = 540.0
"""Nine minutes, as such a machine may be available for fifteen."""
PATIENCE_OF_A_REHEARSAL = 3.0
"""Factor on every limit in a rehearsal, as the machine may be small and busy."""
GRACE_S = 8.0
"""Seconds for a part that ran out of time to end its processes."""
DOCUMENT, TABLE = "gpu_proof.json", "gpu_proof.md"
_OUTCOME, _PROOF = TypeAdapter(PartOutcome), TypeAdapter(Proof)


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if everything passed."""
    given = _parser().parse_args(arguments)
    if given.list:
        sys.stdout.writelines(f"{part.name:<14} {part.limit_s:>4.0f} s  {part.title}\n" for part in PARTS.values())
        return 0
    out: Path = given.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    chosen = [PARTS[name] for name in given.parts or PARTS]
    proof = prove(chosen, out, rehearsal=given.rehearse)
    _keep(proof, out)
    sys.stdout.write(f"\n{markdown(proof)}\nkept in {out}\n")
    return 0 if proof.holds else 1


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="prove.sh", description="Prove and measure the console on a CUDA device.")
    made.add_argument("parts", nargs="*", metavar="PART", choices=[*PARTS, []], help=", ".join(PARTS))
    made.add_argument("--rehearse", action="store_true", help="on the CPU, with small sizes")
    made.add_argument("--list", action="store_true", help="name the parts")
    default = Path(os.environ.get("OUT") or "build/gpu-proof")
    made.add_argument("--out", type=Path, default=default, metavar="DIR", help="where logs, JSON and table go")
    return made


def prove(parts: Sequence[Part], out: Path, *, rehearsal: bool, whole_s: float | None = None) -> Proof:
    """Run the parts in order; the remainder of `whole_s` also bounds each of them. The document grows part by part."""
    factor = PATIENCE_OF_A_REHEARSAL if rehearsal else 1.0
    whole_s = factor * WHOLE_S if whole_s is None else whole_s
    if rehearsal:  # threads that wait for each other would use up a busy machine
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.gpu.proof.preload"])
    begun = time.monotonic()
    outcomes: list[PartOutcome] = []
    for part in parts:
        limit = min(factor * part.limit_s, whole_s - (time.monotonic() - begun))
        outcomes.append(_carried_out(part, out, rehearsal, limit, context))
        _keep(Proof(_machine(), rehearsal, time.monotonic() - begun, tuple(outcomes)), out)
        sys.stdout.write(f"{part.name}: {outcomes[-1].status}, {outcomes[-1].seconds:.0f} s\n")
        sys.stdout.flush()
    return Proof(_machine(), rehearsal, time.monotonic() - begun, tuple(outcomes))


def _keep(proof: Proof, out: Path) -> None:
    (out / DOCUMENT).write_bytes(_PROOF.dump_json(proof, indent=1) + b"\n")
    (out / TABLE).write_text(markdown(proof), encoding="utf-8")


def _carried_out(part: Part, out: Path, rehearsal: bool, limit: float, context: ForkServerContext) -> PartOutcome:
    if limit <= 0:
        return PartOutcome(part.name, "skipped", 0.0, part.limit_s, problem="no time was left")
    begun, place = time.monotonic(), out / f"{part.name}.json"
    place.unlink(missing_ok=True)
    process = context.Process(target=_in_a_process, args=(part, out, rehearsal))
    process.start()
    process.join(limit)
    late = process.is_alive()
    _end(process)
    seconds = time.monotonic() - begun
    if late:
        return PartOutcome(part.name, "out of time", seconds, limit, problem=f"{part.name}.log ends where it was")
    if not place.exists():
        return PartOutcome(part.name, "failed", seconds, limit, problem=f"its process ended with {process.exitcode}")
    found = _OUTCOME.validate_json(place.read_bytes())
    return PartOutcome(part.name, found.status, seconds, limit, found.checks, found.problem)


def _end(process: ForkServerProcess) -> None:
    """End a part and every process of its session: SIGTERM, then SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.is_alive() and process.pid is not None:
            os.kill(process.pid, number)
            process.join(GRACE_S)
    try:
        os.killpg(process.pid or 0, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _in_a_process(part: Part, out: Path, rehearsal: bool) -> None:
    """Process of a part: a separate session, its output in a log, SIGTERM as an exception so that it cleans up."""
    os.setsid()
    signal.signal(signal.SIGTERM, _leave)
    with (out / f"{part.name}.log").open("w", encoding="utf-8") as log:
        for descriptor in (1, 2):
            os.dup2(log.fileno(), descriptor)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            outcome = _measured(part, Setting("cpu" if rehearsal else "cuda:0", Path(folder), rehearsal))
        (out / f"{part.name}.json").write_bytes(_OUTCOME.dump_json(outcome, indent=1))
        sys.stdout.flush()
        sys.stderr.flush()


def _measured(part: Part, setting: Setting) -> PartOutcome:
    def outcome(status: Status, problem: str, checks: Sequence[Check] = ()) -> PartOutcome:
        return PartOutcome(part.name, status, 0.0, part.limit_s, tuple(checks), problem)

    try:
        checks = part.run(setting)
    except NeedsDeviceError as error:
        return outcome("skipped", str(error))
    except Exception as error:  # noqa: BLE001 - a part may fail in any way, and the others run all the same
        traceback.print_exc()
        return outcome("failed", f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    wrong = [check.name for check in checks if check.holds is False]
    return outcome("failed" if wrong else "passed", "; ".join(wrong), checks)


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _machine() -> str:
    return f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"
