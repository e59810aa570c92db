"""Checks of backbones before they are measured: stored findings, else those of a subprocess.

A failed check excludes a backbone from a plan; with --override, it accompanies every result as a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from backbones.catalog.card import BackboneCard
from backbones.catalog.weights_folder import WeightsFolder
from ssl_console.planning.plan import Blocker, Plan, PlannedRun
from ssl_console.system.command_hints import examine
from ssl_console.workspace.paths import Workspace
from tasks.backbone_checks import finding
from tasks.backbone_checks.finding import FAILED, CheckRequest, Finding, Findings, keep_findings, kept_findings

CHECKED_KINDS = frozenset({"file", "url", "timm"})
"""Kinds of weights from outside: shipped weights were already examined, random ones need no check."""


@dataclass(frozen=True)
class BackboneChecker:
    """Checks of backbones: where findings are stored, and the device that is used."""

    workspace: Workspace
    weights: WeightsFolder
    device: str = "cpu"
    notify: Callable[[str], None] = field(default=lambda _sentence: None)
    """Receives a message before a check that takes seconds."""

    def examine(self, card: BackboneCard, *, thorough: bool) -> Iterator[Finding]:
        """Check a backbone now, yielding each finding, and store the findings."""
        request = CheckRequest(backbone=card, weights=str(self.weights.root), device=self.device, thorough=thorough)
        seen: list[Finding] = []
        for one in finding.examine(request):
            seen.append(one)
            yield one
        digest = self.weights.state(card).digest
        if digest is not None and not any(one.name == FAILED for one in seen):
            keep_findings(
                self.workspace.examinations,
                card,
                digest,
                Findings(backbone=card.name, thorough=thorough, findings=tuple(seen)),
            )

    def findings(self, card: BackboneCard) -> tuple[Finding, ...]:
        """Findings for a backbone with present weights: the stored ones, else those of a new check."""
        digest = self.weights.state(card).digest
        kept = None if digest is None else kept_findings(self.workspace.examinations, card, digest)
        if kept is not None:
            return kept.findings
        self.notify(f"examining {card.name} before its first measurement ...")
        return tuple(self.examine(card, thorough=False))


def exclude_failing(plan: Plan, checker: BackboneChecker, *, override: bool = False) -> Plan:
    """Plan without runs of failing backbones; with `override` they stay, marked with the failed checks."""
    failures: dict[str, tuple[Finding, ...]] = {}
    for name, card in {run.candidate.backbone.name: run.candidate.backbone for run in plan.to_run}.items():
        if card.weights.kind in CHECKED_KINDS:
            bad = tuple(one for one in checker.findings(card) if one.verdict == "bad")
            failures |= {name: bad} if bad else {}
    if not failures:
        return plan
    return replace(plan, runs=tuple(_judged(run, failures, override=override) for run in plan.runs))


def _judged(run: PlannedRun, failures: Mapping[str, tuple[Finding, ...]], *, override: bool) -> PlannedRun:
    name = run.candidate.backbone.name
    if not run.to_run or name not in failures:
        return run
    sentences = tuple(f"{one.name}: {one.words}" for one in failures[name])
    if override:
        return replace(run, candidate=replace(run.candidate, concerns=sentences))
    reason = f"{name} fails its checks: {'; '.join(sentences)}"
    advice = f"{reason} (`{examine(name)}`; measure it anyway with --override, which marks every result)"
    missing = (*run.candidate.missing, Blocker("doctor", name, advice, reason))
    return replace(run, candidate=replace(run.candidate, missing=missing))
