"""The parts of the proof, in their order. A part's module, which may import torch, is imported when the part runs."""

from __future__ import annotations

from tests.gpu.proof.record import Part

CONSOLE, SPEED, DEVICE, TRAINING, SHARING = (
    f"tests.gpu.proof.{name}" for name in ("console", "speed", "device_side", "training", "sharing")
)
PARTS = {
    part.name: part
    for part in (
        Part("environment", "versions, driver, `doctor`", 25, CONSOLE),
        Part("main-job", "two backbones on the demo suite, with the CPU's scores", 90, CONSOLE),
        Part("tests", "tests/gpu", 60, CONSOLE),
        Part("extraction", "features of JPEG files, compared with the forward pass and the published loop", 55, SPEED),
        Part("graphs", "forward passes by CUDA graphs: decision, features, speed", 30, DEVICE),
        Part("growth", "the batch size follows the memory of the device", 15, DEVICE),
        Part("decoded", "features from the store of decoded images", 20, SPEED),
        Part("nvjpeg", "JPEG files decoded on the device: speed, and difference of pixels and features", 20, SPEED),
        Part("path", "the exact regularisation path, compared with a sweep of L-BFGS", 60, SPEED),
        Part("knn", "nearest neighbours in a bank as large as ImageNet's", 20, SPEED),
        Part("training", "finetune, detection, segmentation in two precisions", 50, TRAINING),
        Part("two-workers", "two workers share the device", 25, SHARING),
        Part("out-of-memory", "a run that finds no memory, and its next attempt", 30, SHARING),
        Part("held-card", "another process holds the card: the run waits, then goes on", 40, SHARING),
    )
}
