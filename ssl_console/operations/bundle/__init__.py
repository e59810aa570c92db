"""One file that holds results with everything they follow from, and can be checked by anybody who has it.

`writing` makes it, `checking` counts everything in it again. A bundle is a plain zip file whose members are stored as
they are; see `archive` for why that, and nothing else, is read.
"""
