"""Workers as jobs of a Slurm cluster, controlled through Slurm's own commands.

Slurm starts and ends jobs and reports why. Progress and results never pass through it: they are in the run folders, on
a file system that the nodes share.
"""
