"""Training that repeats bit for bit and carries on after any interruption."""
