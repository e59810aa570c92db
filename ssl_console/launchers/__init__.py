"""Launchers start worker processes: on this machine, as jobs of a cluster, or as a plug-in decides."""
