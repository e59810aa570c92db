"""Colour information in features: ridge regression of mean colour and hue histogram from stored features.

The cheap companion of `inversion` (paper section 4.8 examines colours of reconstructed images). Scores are R squared in
percent: 100 for exact predictions, 0 for predictions no better than the mean. An untrained network preserves much of
the colours, so it is the baseline for comparison. What choosing the penalty on the test images would have given is the
diagnostic `chosen_on_test`.
"""

from __future__ import annotations

import numpy as np

from tasks.catalog.protocols import ColourParameters
from tasks.evaluation.inputs import ManyShotInputs, joined
from tasks.metrics.outcome import Json, Outcome, chosen_on_test
from tasks.metrics.reconstruction import COLOUR_HEADLINE, colour_interval, colour_scores, explained
from tasks.reporter import Reporter
from tasks.solvers.quick_classifiers import Ridge


def evaluate(inputs: ManyShotInputs, parameters: ColourParameters, seed: int, reporter: Reporter) -> Outcome:
    """Select the penalty on validation images, fit on both, score on test. `seed` has determined the split."""
    del seed
    colours = inputs.pixel_targets
    assert colours is not None, "declared in the protocol's specification"
    penalties = [float(one) for one in np.logspace(parameters.low, parameters.high, parameters.penalties)]
    reporter.phase("regression", len(penalties) + 1, "fits")
    problem = Ridge.of(inputs.train.features, colours.train)
    on_validation: list[float] = []
    for penalty in penalties:
        on_validation.append(explained(problem.predict(inputs.val.features, penalty), colours.val))
        reporter.metric("validation", on_validation[-1], step=penalty)
        reporter.advance()
    best = int(np.argmax(on_validation))
    both = joined(inputs.train, inputs.val)
    final = Ridge.of(both.features, np.concatenate([colours.train, colours.val]))
    predicted = final.predict(inputs.test.features, penalties[best]).astype(np.float32)
    wanted = colours.test.astype(np.float32)
    on_test = [explained(final.predict(inputs.test.features, penalty), colours.test) for penalty in penalties]
    choices = [f"penalty = {penalty:.3g}" for penalty in penalties]
    reporter.advance()
    curve: list[Json] = list(on_validation)
    return Outcome(
        headline=COLOUR_HEADLINE,
        metrics=colour_scores(predicted, wanted),
        interval=colour_interval(predicted, wanted),
        samples={"train": len(inputs.train), "val": len(inputs.val), "test": len(inputs.test)},
        hyperparameters={"penalty": penalties[best]},
        diagnostics={
            "validation": curve,
            "on_edge": best in {0, len(penalties) - 1},
            "chance": 0.0,
            "chosen_on_test": chosen_on_test(on_test, choices, on_test[best]),
        },
        predictions={
            "index": inputs.test.index,
            "colour": wanted,
            "colour_predicted": predicted,
        },
    )
