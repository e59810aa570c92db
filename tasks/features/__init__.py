"""The feature store: every (backbone, preprocessing, images) is encoded once, whoever asks."""
