"""Faster inference of frozen networks on a CPU."""
