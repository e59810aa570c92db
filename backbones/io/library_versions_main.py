"""Import libraries and print their versions as JSON: `python -P -m backbones.io.library_versions_main torch timm`.

With them the CUDA version that torch was built for, null for none, and whether torch finds a device.
"""

from __future__ import annotations

import importlib
import json
import sys


def main(names: list[str]) -> None:
    """Print `[{name: version}, CUDA version, whether there is a device]`."""
    found = {name: importlib.import_module(name).__version__ for name in names}
    torch = importlib.import_module("torch")
    print(json.dumps([found, torch.version.cuda, torch.cuda.is_available()]))


if __name__ == "__main__":
    main(sys.argv[1:])
