"""Files, cards, downloads, digests and plug-ins: input and output that every other package uses."""
