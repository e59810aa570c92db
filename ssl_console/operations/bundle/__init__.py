"""Bundles: one file of results with everything that they are derived from, verifiable by any recipient.

`write` creates it, `verify` recomputes its content. A bundle is a plain zip file whose members are stored uncompressed;
see `archive` for why nothing else is read.
"""
