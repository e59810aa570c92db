"""Import of a folder of images as a dataset."""
