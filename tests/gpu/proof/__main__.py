"""`python -m tests.gpu.proof`: see `tests/gpu/prove.sh`."""

import sys

from tests.gpu.proof.driver import main

if __name__ == "__main__":
    sys.exit(main())
