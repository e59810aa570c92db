"""Statistics of the predictions of runs. Pure functions over arrays; needs numpy, and neither scipy nor torch.

`paired_tests` compares two backbones on one task, `across_tasks` two or more on several tasks, and `rank_bootstrap`
many backbones on many tasks.
"""
