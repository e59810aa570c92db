"""Pre-training of the demo backbones on rendered scenes: `python -m tasks.pretraining METHOD`."""
