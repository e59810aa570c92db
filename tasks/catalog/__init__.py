"""Protocols, task cards and suites by name, and the parameters of each protocol. Needs no torch."""
