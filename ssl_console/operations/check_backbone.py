"""Checks of backbones before they are measured: kept findings, else those of a process of its own.

What fails keeps a backbone out of a plan; overridden, it goes along with every result as a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from backbones.catalog.card import BackboneCard
from backbones.catalog.weights_folder import WeightsFolder
from ssl_console.planning.plan import Blocker, Plan, PlannedRun
from ssl_console.system.command_hints import examine
from ssl_console.workspace.paths import Workspace
from tasks.backbone_checks import finding
from tasks.backbone_checks.finding import FAILED, CheckRequest, Finding, Findings, keep_findings, kept_findings

CHECKED_KINDS = frozenset({"file", "url", "timm"})
"""Kinds of weights that come from outside: what is shipped was examined already, what is random has no weights."""


@dataclass(frozen=True)
class BackboneChecker:
    """Where findings are kept and on which device a backbone is looked at."""

    workspace: Workspace
    weights: WeightsFolder
    device: str = "cpu"
    notify: Callable[[str], None] = field(default=lambda _sentence: None)
    """Receives a message before a check that takes seconds."""

    def examine(self, card: BackboneCard, *, thorough: bool) -> Iterator[Finding]:
        """Check a backbone now, finding by finding, and keep the findings."""
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
        """Findings for a backbone whose weights are present: the kept ones, else those of a check now."""
        digest = self.weights.state(card).digest
        kept = None if digest is None else kept_findings(self.workspace.examinations, card, digest)
        if kept is not None:
            return kept.findings
        self.notify(f"examining {card.name} before it is measured for the first time ...")
        return tuple(self.examine(card, thorough=False))


def exclude_failing(plan: Plan, checker: BackboneChecker, *, override: bool = False) -> Plan:
    """The plan without runs of backbones that fail; with `override` they stay, marked with what is wrong."""
    failures = _failures({run.candidate.backbone.name: run.candidate.backbone for run in plan.to_run}, checker)
    return (
        replace(plan, runs=tuple(_judged(run, failures, override=override) for run in plan.runs)) if failures else plan
    )


def _failures(cards: Mapping[str, BackboneCard], checker: BackboneChecker) -> dict[str, tuple[Finding, ...]]:
    found = {name: _bad(checker.findings(card)) for name, card in cards.items() if card.weights.kind in CHECKED_KINDS}
    return {name: bad for name, bad in found.items() if bad}


def _bad(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(one for one in findings if one.verdict == "bad")


def _judged(run: PlannedRun, failures: Mapping[str, tuple[Finding, ...]], *, override: bool) -> PlannedRun:
    name = run.candidate.backbone.name
    if not run.to_run or name not in failures:
        return run
    sentences = tuple(f"{one.name}: {one.words}" for one in failures[name])
    if override:
        return replace(run, candidate=replace(run.candidate, concerns=sentences))
    reason = f"{name} fails its examination: {'; '.join(sentences)}"
    advice = f"{reason} (`{examine(name)}`; --override measures it anyway, and marks every result)"
    missing = (*run.candidate.missing, Blocker("doctor", name, advice, reason))
    return replace(run, candidate=replace(run.candidate, missing=missing))
