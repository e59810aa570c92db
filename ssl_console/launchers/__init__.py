"""Launchers start worker processes: locally, or as jobs of a cluster."""
