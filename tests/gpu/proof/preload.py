"""What every part imports, once for all of them. Nothing here may touch a device."""

import tests.gpu.proof.parts
import tests.gpu.proof.speed
import tests.gpu.proof.training  # noqa: F401
