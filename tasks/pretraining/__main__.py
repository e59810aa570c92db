"""Pre-train a demo backbone from the command line."""

import argparse
import sys
from pathlib import Path

import torch
from platformdirs import user_cache_path

from backbones.cpu.malloc import keep_freed_memory
from tasks.pretraining.augmentation import RECIPES, Method
from tasks.pretraining.loop import (
    Origin,
    PretrainingProgress,
    ProgressReports,
    Run,
    Trainer,
    create_backbone,
    export,
    open_pool,
)
from tasks.training.loop import train

SAVE_EVERY_S = 120.0


def _arguments(words: list[str] | None) -> argparse.Namespace:
    cache = user_cache_path("ssl-console") / "pretraining"
    parser = argparse.ArgumentParser(prog="python -m tasks.pretraining", description=__doc__)
    parser.add_argument("method", type=Method, choices=list(Method))
    parser.add_argument("--minutes", type=float, help="length, in minutes of one core of the reference machine")
    parser.add_argument("--out", type=Path, default=Path("backbones/demo"), help="folder for METHOD.safetensors")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=cache, help="folder for the rendered images and checkpoints")
    parser.add_argument("--export-checkpoint", action="store_true", help="train nothing: export the newest checkpoint")
    return parser.parse_args(words)


def _print(progress: PretrainingProgress) -> None:
    print(
        f"step {progress.step}/{progress.steps}  loss {progress.loss:.4f}  "
        f"{progress.images_per_second:.0f} images/s  {progress.seconds_left / 60:.1f} min left",
        flush=True,
    )


def _pretrain(options: argparse.Namespace, path: Path) -> None:
    run = Run(options.method, RECIPES[options.method].steps(options.minutes), options.seed)
    trainer = Trainer(run, open_pool(options.cache))
    checkpoint = trainer.checkpoint(options.cache / f"{run.method}-{run.steps}-{run.seed}.pt")
    reports = ProgressReports(run, _print)
    if options.export_checkpoint:
        state = checkpoint.restore(reports)
        if state is None:
            sys.exit(f"{checkpoint.path} has no state of this run: train it first, or use the same options")
        trainer.training.resume(state)
    else:
        train(trainer.training, checkpoint, reports, every_s=SAVE_EVERY_S)
    export(trainer.objective.backbone, trainer.origin(), path)


def main(words: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _arguments(words)
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    path = options.out / f"{options.method}.safetensors"
    if options.method is Method.RANDOM:
        architecture, seed = RECIPES[Method.RANDOM].architecture, options.seed
        export(create_backbone(architecture, seed), Origin(Method.RANDOM, architecture, seed, 0, 0, 0.0), path)
    else:
        _pretrain(options, path)
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
