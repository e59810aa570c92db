"""Steps of a ladder in words and as JSON documents, for all front ends. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ssl_console.analysis.badged_results import marked_document
from ssl_console.analysis.ladder import LadderStep
from ssl_console.analysis.statistics.distributions import format_p
from ssl_console.analysis.statistics.sequential import AnytimeTest

HEAD = ("rung", "leader", "P(best)", "next", "ahead by", "certain bounds", "order")


def step_row(step: LadderStep) -> tuple[str, ...]:
    """Cells of a step, under `HEAD`: the leader against the rival that is closest to it."""
    rival, test = closest(step)
    bounds = f"{test.low:+.1f} to {test.high:+.1f}"
    probability = f"{step.probability[step.leader]:.2f}"
    return (step.rung.name, step.leader, probability, rival, f"{test.difference:+.1f}", bounds, _order(step))


def closest(step: LadderStep) -> tuple[str, AnytimeTest]:
    """The rival over which the lead is least certain, and the test against it."""
    return min(step.leads.items(), key=lambda item: item[1].low)


def interaction_sentence(step: LadderStep) -> str:
    """Whether differences between backbones, and their order, depend on the protocol."""
    if step.rungs < 2:
        return "One protocol cannot show whether the order depends on the protocol."
    if step.interaction is None:
        return "The test images are not the same on every rung, so dependence on the protocol is not tested."
    p = format_p(step.interaction.p_value)
    if step.crossings:
        one = step.crossings[0]
        more = f", and {len(step.crossings) - 1} more pairs change places" if len(step.crossings) > 1 else ""
        order = f"{one.first} is ahead of {one.second} on {one.ahead} and behind on {one.behind}{more}"
        return f"The order depends on the protocol (interaction {p}): {order}."
    if step.interaction.p_value < 0.05:
        return f"Differences depend on the protocol (interaction {p}), but no change of order is certain."
    return f"No significant dependence on the protocol (interaction {p})."


def verdict_sentence(step: LadderStep) -> str:
    """The results of the ladder so far, in one or two sentences."""
    runs = " Networks were trained with one seed each: another seed may give another order." * step.one_training
    return f"{_verdict(step)}{runs}"


def _verdict(step: LadderStep) -> str:
    protocols = "one protocol" if step.rungs == 1 else f"{step.rungs} protocols"
    if step.contested:
        return (
            f"{step.leader} leads on average over {protocols}, but not under each: choose by the protocol you will use."
        )
    if step.verdict == "leader":
        return f"{step.leader} is better than {_names(step.behind)} over {protocols}."
    if step.verdict == "equal":
        behind = f", and better than {_names(step.behind)}" if step.behind else ""
        return f"{step.leader} is equal to {_names(step.equals)} within {points(step.margin)} over {protocols}{behind}."
    probability = step.probability[step.leader]
    rest = f"its lead over {_names(step.undecided)} is not yet certain"
    return f"{step.leader} leads over {protocols} (probability {probability:.2f}), but {rest}."


def points(margin: float) -> str:
    """`1 point`, `0.5 points`."""
    return f"{margin:g} point{'s' * (margin != 1)}"


def step_document(step: LadderStep) -> dict[str, object]:
    """A step for `--json`."""
    found = step.interaction
    return {
        "task": step.rung.task,
        "variant": step.rung.variant,
        "scores": {name: cell.value for name, cell in step.rung.cells.items()},
        "marked_scores": marked_document(step.rung.marked),
        "leader": step.leader,
        "probability_best": dict(step.probability),
        "expected_regret": dict(step.regret),
        "leads": {name: test_document(test) for name, test in step.leads.items()},
        "margin": step.margin,
        "interaction_p": None if found is None else found.p_value,
        "crossings": [
            {"first": one.first, "second": one.second, "ahead": one.ahead, "behind": one.behind}
            for one in step.crossings
        ],
        "verdict": step.verdict,
        "settled": step.settled,
        "one_training": step.one_training,
        "sentence": verdict_sentence(step),
    }


def test_document(test: AnytimeTest) -> dict[str, object]:
    """An anytime-valid test for `--json`; differences in points."""
    return {
        "difference": test.difference,
        "low": test.low,
        "high": test.high,
        "n": test.n,
        "method": test.method,
        "e_value": test.evidence,
        "images_needed": test.needed,
    }


def _order(step: LadderStep) -> str:
    if step.interaction is None:
        return "—"
    changes = (
        f"{len(step.crossings)} certain change{'s' * (len(step.crossings) != 1)}" if step.crossings else "no change"
    )
    return f"{changes}, {format_p(step.interaction.p_value)}"


def _names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
