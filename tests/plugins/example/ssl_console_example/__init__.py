"""A protocol, a dataset and a backbone for ssl-console, as small as they can be."""
