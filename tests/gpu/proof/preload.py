"""Imports of all parts, done once. No module here may use a device."""

import tests.gpu.proof.parts
import tests.gpu.proof.speed
import tests.gpu.proof.training  # noqa: F401
