"""Feature store: features of each (backbone, preprocessing, images) are computed once and shared by all runs."""
