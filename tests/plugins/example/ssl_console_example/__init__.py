"""A minimal protocol, dataset and backbone for ssl-console."""
