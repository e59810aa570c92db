"""Object detection on a backbone: Faster R-CNN over a feature pyramid, and the average precision of Pascal VOC."""
