"""Training that is reproducible bit for bit and resumes after any interruption."""
