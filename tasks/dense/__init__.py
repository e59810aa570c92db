"""What segmentation and surface normals share: image sizes, decoders, training, evaluation at several scales."""
