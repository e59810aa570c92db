"""Launchers start worker processes: on this machine, as cluster jobs, or by a plug-in."""
