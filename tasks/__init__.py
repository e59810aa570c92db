"""What is measured on backbones: datasets, protocols and suites. Knows nothing of the console."""
