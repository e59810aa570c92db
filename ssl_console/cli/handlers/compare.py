"""`compare`: one backbone against another, or against its published scores."""

from __future__ import annotations

from collections.abc import Mapping

from backbones.io.card_files import suggest
from ssl_console.analysis.badged_results import MarkedScore, legend, mark_sentences
from ssl_console.analysis.comparison import Comparison, TaskComparison
from ssl_console.analysis.published.agreement import (
    AgainstPublished,
    against_published,
    published_backbones,
    published_numbers,
)
from ssl_console.analysis.published.tables import further_numbers
from ssl_console.analysis.ranking_cell import RankingCell
from ssl_console.analysis.statistics import distributions
from ssl_console.cli.output import stdout
from ssl_console.operations.session import Session, resolve_backbone
from ssl_console.system.command_hints import RUNS
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.badges import marks
from ssl_console.workspace.result import Result

PUBLISHED_NAMES = ("published", "paper")
"""Accepted in place of a second backbone."""


def compare_backbones(
    session: Session,
    first: str,
    second: str,
    suite: str | None,
    margins: Mapping[str, float],
    *,
    as_json: bool,
) -> None:
    """Compare two backbones by their results; `margins` override those of the configuration.

    Raises ConsoleError when there is nothing comparable.
    """
    found = session.badged_results()
    wanted = None
    if suite is not None:
        wanted = [(spec.name, spec.variant) for spec in session.tasks.select(suite=suite)]
        found = [result for result in found if (result.task, result.variant) in set(wanted)]
    measured = tuple(dict.fromkeys(result.backbone for result in found))
    _check_configured_margins(session)
    if not measured:
        place = "" if suite is None else f" in the suite {suite}"
        raise ConsoleError(f"no results to compare{place}: start with `ssl-console run`")
    ours = resolve_backbone(first, measured)
    if second in PUBLISHED_NAMES:
        _published(session, ours, found, as_json=as_json)
        return
    theirs = resolve_backbone(second, measured)
    if theirs == ours:
        raise ConsoleError(f"{ours} cannot be compared with itself: name two backbones")
    outcome = session.compare(ours, theirs, found, wanted, margins)
    _check_comparable(outcome, margins)
    if as_json:
        stdout.document(_document(outcome))
    else:
        _show(outcome)


def _check_comparable(outcome: Comparison, margins: Mapping[str, float]) -> None:
    """Raise ConsoleError where no task is comparable, or a margin is for a metric that no compared task has."""
    if not outcome.tasks:
        reasons = [f"{one.task}: {one.reason}" for one in outcome.not_comparable]
        why = "; ".join(reasons) or f"no task was measured on both; `{RUNS}` lists the runs"
        raise ConsoleError(f"{outcome.first} and {outcome.second} cannot be compared. {why}")
    metrics = dict.fromkeys(task.metric for task in outcome.tasks)
    if unknown := [name for name in margins if name not in metrics]:
        raise ConsoleError(
            f"--margin {unknown[0]}: no compared task has this metric; the metrics are {', '.join(metrics)}"
        )


def needs_second(figure: object) -> ConsoleError:
    """The error for a comparison without a second backbone, or with a figure of two backbones."""
    if figure is not None:
        return ConsoleError("--figure is the scatter of --published: compare A --published --figure FILE")
    return ConsoleError("compare takes two backbones, or one with --published")


def _check_configured_margins(session: Session) -> None:
    """Warn about margins in the settings that match no result; the metric may be misspelt, or not measured yet."""
    metrics = {result.metric for result in session.results()}
    for name in sorted(set(session.config.margins) - metrics):
        near = "".join(f"; did you mean {one!r}?" for one in suggest(name, metrics)[:1])
        session.notify(f"{session.workspace.config}: margins.{name}: no result here has this metric{near}")


def _show(outcome: Comparison) -> None:
    names = (outcome.first, outcome.second)
    head = ("task", *names, "difference", "95 % interval", "p", "p (Holm)", "effect", "smallest", "verdict")
    stdout.table(head, [_line(task) for task in outcome.tasks], right=frozenset(range(1, 9)))
    stdout.lines(["", outcome.sentence])
    for sentence in mark_sentences(_marked(outcome)):
        stdout.say(sentence)
    for refused in outcome.not_comparable:
        stdout.say(f"not compared: {refused.task}: {refused.reason}")
    for name, alone in zip(names, (outcome.only_first, outcome.only_second), strict=True):
        if alone:
            stdout.say(f"measured only for {name}: {', '.join(alone)}")
    if single := [task.task for task in outcome.tasks if task.one_training]:
        stdout.say(
            f"valid for these runs, not for the backbones, because each was trained with one seed: {', '.join(single)}"
        )
    pools = []
    for task in outcome.tasks:
        if task.first.unit == "episodes":
            seeds = sorted({*task.first.seeds, *task.second.seeds})
            shown = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
            pools.append(f"{task.task} ({task.test.n:,}; {shown})")
    if pools:
        stdout.say(f"tested on the images of the pools, with the runs' own episode seeds: {', '.join(pools)}")
    for note in dict.fromkeys(task.note for task in outcome.tasks if task.note):
        unpaired = ", ".join(task.task for task in outcome.tasks if task.note == note)
        stdout.say(f"by intervals only, with lower power: {unpaired}: {note}")


def _marked(outcome: Comparison) -> list[MarkedScore]:
    return [
        MarkedScore(name, task.task, cell.run_id, cell.badges)
        for task in outcome.tasks
        for name, cell in ((outcome.first, task.first), (outcome.second, task.second))
        if cell.badges
    ]


def _shown(cell: RankingCell) -> str:
    return f"{cell.value:.2f}{marks(cell.badges)}"


def _line(task: TaskComparison) -> tuple[str, ...]:
    test = task.test
    return (
        f"{task.task} [{task.variant}]",
        _shown(task.first),
        _shown(task.second),
        f"{test.difference:+.2f}",
        f"{test.low:+.2f} to {test.high:+.2f}",
        distributions.format_p(test.p_value, ""),
        distributions.format_p(task.adjusted_p, ""),
        f"{test.effect:+.2f}",
        f"{test.smallest:.2f}",
        task.words,
    )


def _document(outcome: Comparison) -> dict[str, object]:
    across = outcome.across
    return {
        "first": outcome.first,
        "second": outcome.second,
        "tasks": [_task(task) for task in outcome.tasks],
        "across": across
        and {
            "tasks": across.tasks,
            "wilcoxon_p": across.test.p_value,
            "effect": across.test.effect,
            "mean_lead": across.mean_lead,
            "median_lead": across.median_lead,
            "smallest_detectable": across.smallest,
        },
        "sentence": outcome.sentence,
        "marks": legend(one.badges for one in _marked(outcome)),
        "not_comparable": [{"task": one.task, "reason": one.reason} for one in outcome.not_comparable],
        "only_first": list(outcome.only_first),
        "only_second": list(outcome.only_second),
    }


def _task(task: TaskComparison) -> dict[str, object]:
    test = task.test
    return {
        "task": task.task,
        "variant": task.variant,
        "metric": task.metric,
        "first": _score(task.first),
        "second": _score(task.second),
        "difference": test.difference,
        "ci_low": test.low,
        "ci_high": test.high,
        "p": test.p_value,
        "p_holm": task.adjusted_p,
        "effect": test.effect,
        "smallest_detectable": test.smallest,
        "n": test.n,
        "method": test.method,
        "verdict": task.verdict,
        "words": task.words,
        "within_margin": task.within,
        "margin": {"size": task.tolerance.size, "unit": task.tolerance.unit},
        "of": "these runs" if task.one_training else "the backbones",
        "note": task.note,
    }


def _score(cell: RankingCell) -> dict[str, object]:
    known = cell.half_width is not None
    low, high = (cell.ci_low, cell.ci_high) if known else (None, None)
    return {
        "value": cell.value,
        "ci_low": low,
        "ci_high": high,
        "run_id": cell.run_id,
        "source": cell.source,
        "seeds": list(cell.seeds),
        "badges": list(cell.badges),
    }


def _published(session: Session, backbone: str, results: list[Result], *, as_json: bool) -> None:
    if backbone not in published_backbones():
        raise ConsoleError(f"no published scores for {backbone}; available for {', '.join(published_backbones())}")
    own, outputs = [result for result in results if result.backbone == backbone], session.outputs

    def metrics_of(run_id: str) -> Mapping[str, float]:
        record = outputs.record(run_id)
        return record.metrics if record else {}

    found = against_published(backbone, [*own, *further_numbers(own, metrics_of)])
    if not found:
        raise ConsoleError(_not_comparable(backbone))
    agreeing = sum(one.agrees for one in found)
    sentence = f"{backbone} reproduces {agreeing} of {len(found)} published scores."
    if as_json:
        rows = [_published_task(one) for one in found]
        used = legend(one.own.badges for one in found)
        stdout.document(
            {"first": backbone, "second": PUBLISHED_NAMES[0], "tasks": rows, "sentence": sentence, "marks": used}
        )
        return
    head = ("task", "measured", "published", "difference", "where", "verdict")
    stdout.table(head, [_published_line(one) for one in found], right=frozenset({1, 2, 3}))
    stdout.lines(["", sentence])
    own_scores = [MarkedScore(backbone, one.column.task, one.own.run_id, one.own.badges) for one in found]
    for warning in mark_sentences(own_scores):
        stdout.say(warning)


def _not_comparable(backbone: str) -> str:
    """Numbers of one task with different protocols are not compared."""
    which = "; ".join(
        f"{one.task} [{one.variant}] {value:g}{f' ({one.protocol})' if one.protocol else ''}"
        for one, value in published_numbers(backbone)
    )
    return (
        f"{backbone} was not measured with the protocol of its published scores: {which}. A score is only "
        "compared with results of the same task and preset (`ssl-console run --preset NAME`)"
    )


def _published_line(one: AgainstPublished) -> tuple[str, ...]:
    return (
        f"{one.column.task} {one.column.metric} [{one.variant}]",
        _shown(one.own),
        f"{one.published.value:.2f}",
        f"{one.difference:+.2f}",
        one.column.table,
        f"{'reproduced' if one.agrees else 'differs'}: {one.basis}",
    )


def _published_task(one: AgainstPublished) -> dict[str, object]:
    return {
        "task": one.column.task,
        "variant": one.variant,
        "metric": one.column.metric,
        "table": one.column.table,
        "protocol": one.column.protocol or None,
        "first": _score(one.own),
        "second": _score(one.published),
        "difference": one.difference,
        "allowed": one.allowed,
        "agrees": one.agrees,
        "basis": one.basis,
    }
