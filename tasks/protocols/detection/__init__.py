"""Object detection with Faster R-CNN."""
