"""Format of p-values."""

from __future__ import annotations

import pytest

from ssl_console.analysis.statistics.distributions import told


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.5"), (0.0321, "0.032"), (1e-4, "0.0001"), (9e-5, "<0.0001"), (0.0, "<0.0001")]
)
def test_no_p_value_is_written_as_zero(value: float, text: str) -> None:
    assert told(value) == text
