"""Whether a backbone's numbers can be believed, asked before anything is measured with it."""
