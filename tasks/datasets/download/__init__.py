"""Download and safe unpacking of datasets."""
