"""Inversion: images drawn anew from what a backbone's last feature map keeps of them."""
