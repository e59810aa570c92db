"""Parts shared by the dense protocols (segmentation, surface normals)."""
