"""Accuracies of linear probes on frozen features of the demo backbones, on scenes not used in pre-training."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from tasks.pretraining.augmentation import INPUT_SIZE, RECIPES, Method, normalise, to_tensor
from tasks.pretraining.loop import create_backbone
from tasks.synthetic import Factors, SceneKind, render
from tasks.synthetic.digits import glyphs

Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """Training and test images, uint8 [n, h, w, 3], with labels [n]."""

    train: tuple[NDArray[np.uint8], Labels]
    test: tuple[NDArray[np.uint8], Labels]


@dataclass(frozen=True)
class _Question:
    kind: SceneKind
    label: Callable[[Factors], int]


_QUESTIONS = {
    "solid": _Question(SceneKind.OBJECT, lambda factors: factors.solid),
    "hue": _Question(SceneKind.OBJECT, lambda factors: factors.hue),
    "texture": _Question(SceneKind.OBJECT, lambda factors: factors.texture),
    "count": _Question(SceneKind.SCENE, lambda factors: factors.count - 1),
    "digit on scene": _Question(SceneKind.DIGIT, lambda factors: factors.digit),
}


def _rendered(question: _Question, split: str, count: int) -> tuple[NDArray[np.uint8], Labels]:
    scenes = [render(question.kind, split, index, INPUT_SIZE) for index in range(count)]
    return np.stack([scene.image for scene in scenes]), np.array([question.label(scene.factors) for scene in scenes])


def _plain_digits(split: str) -> tuple[NDArray[np.uint8], Labels]:
    source = glyphs(split)
    ink = torch.from_numpy(source.ink)[:, None].expand(-1, 3, -1, -1)
    large = functional.interpolate(ink, size=INPUT_SIZE, mode="bilinear").mul(255).round().byte()
    return large.permute(0, 2, 3, 1).numpy(), source.labels


def probes(train: int, test: int) -> dict[str, LinearProbe]:
    """Render the images of each probe; the plain digits have a fixed number of images."""
    made = {
        name: LinearProbe(_rendered(question, "train", train), _rendered(question, "test", test))
        for name, question in _QUESTIONS.items()
    }
    return {**made, "plain digit": LinearProbe(_plain_digits("train"), _plain_digits("test"))}


@torch.inference_mode()
def features(backbone: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pooled features [n, d] of uint8 images [n, h, w, 3]."""
    batches = (torch.from_numpy(images[start : start + 250]) for start in range(0, len(images), 250))
    pooled: list[Tensor] = [backbone(normalise(to_tensor(batch))) for batch in batches]
    return torch.cat(pooled).numpy()


def accuracy(backbone: nn.Module, probe: LinearProbe) -> float:
    """Test accuracy of a logistic regression on standardised frozen features."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  (slow to import; training does without)
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    classifier.fit(features(backbone, probe.train[0]), probe.train[1])
    return float(classifier.score(features(backbone, probe.test[0]), probe.test[1]))


def main(words: list[str] | None = None) -> int:
    """Print one Markdown row of accuracies per backbone file written by `tasks.pretraining`."""
    parser = argparse.ArgumentParser(prog="python -m tasks.pretraining.linear_probe", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--train", type=int, default=1500)
    parser.add_argument("--test", type=int, default=700)
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    asked = probes(options.train, options.test)
    print("| backbone | " + " | ".join(asked) + " |\n|" + " --- |" * (len(asked) + 1))
    for path in options.files:
        with safe_open(path, "pt") as file:
            method = Method(file.metadata()["method"])
        backbone = create_backbone(RECIPES[method].architecture, seed=0)
        backbone.load_state_dict(load_file(path), strict=True)
        row = [f"{100 * accuracy(backbone.eval(), probe):.1f}" for probe in asked.values()]
        print(f"| {path.stem} | " + " | ".join(row) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
