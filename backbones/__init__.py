"""What is measured: backbone cards, their loaders and converters. Imports nothing else of this project."""
