"""Declares protocols and backbones that cannot be used."""

PROTOCOLS = ("not a protocol",)
