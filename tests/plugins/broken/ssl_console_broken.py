"""Says that it brings protocols and backbones, and brings none that could be used."""

PROTOCOLS = ("not a protocol",)
