"""Statistics of what runs leave behind. Pure functions over arrays; needs numpy, and neither scipy nor torch.

`paired` asks of one task, `wilcoxon` and `holm` of several, `friedman` and `ranks` of many backbones on many tasks.
"""
