"""Every rate is within its band: a short form by default, the long one with SSL_CONSOLE_FAULTS=full."""

from __future__ import annotations

import os

import pytest

from tests.verdicts import backbones, choices, classification, few_shot, images, protocols, selection
from tests.verdicts.rates import SIMULATIONS, Rate

assert all((backbones, choices, classification, few_shot, images, protocols, selection))
LONG = os.environ.get("SSL_CONSOLE_FAULTS") == "full"
SCALE = 1.0 if LONG else 0.1

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", sorted(SIMULATIONS))
def test_every_rate_lies_within_its_band(name: str) -> None:
    outside = [rate for rate in SIMULATIONS[name](SCALE) if not rate.holds]
    assert not outside, "\n".join(map(_line, outside))


def _line(rate: Rate) -> str:
    return f"{rate.setting}: {rate.found:.3f} of {rate.repetitions}, not {rate.low:.2f} to {rate.high:.2f}"
