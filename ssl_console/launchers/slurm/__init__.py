"""Workers as jobs of a Slurm cluster, driven by Slurm's own commands.

Slurm starts, ends and explains. Progress and results never pass through it: they are in the run folders, on a file
system that the nodes share.
"""
