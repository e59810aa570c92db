"""The terminal: driver, cell diff, key queue, crash report."""
