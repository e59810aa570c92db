"""Vision models that only the optional `transformers` library has, loaded by the library's own class.

The architecture of a card is `transformers/MODEL_TYPE`, its argument `config` the library's configuration as JSON.
Code shipped with a model (`auto_map`, trust_remote_code) is never run.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, cast

from torch import Tensor, nn

from backbones.io.errors import WeightsError

SCHEME = "transformers/"
EXTRA = "pip install 'ssl-console[transformers]'"
UNUSED = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "id2label", "label2id", "auto_map")
"""Entries of a configuration that do not change the function."""


def is_transformers(architecture: str) -> bool:
    """Whether the architecture belongs to the library."""
    return architecture.startswith(SCHEME)


def is_installed() -> bool:
    """Whether the library is installed."""
    return find_spec("transformers") is not None


class TransformersBackbone(nn.Module):
    """A model of the library with the interface of timm's: images to the pooled output, else to tokens or a map.

    Where the model has no pooled output, features are the class token if it has one, else the mean over positions.
    """

    def __init__(self, network: Any) -> None:  # noqa: ANN401 - a class of an optional library
        super().__init__()
        self.network = network
        self.has_class_token = any(name.endswith("cls_token") for name, _ in network.named_parameters())

    def forward_features(self, images: Tensor) -> Tensor:
        """[b, 3, h, w] to [b, d] where the model pools, else to [b, n, d] or [b, d, h, w]."""
        found = self.network(pixel_values=images)
        pooled = getattr(found, "pooler_output", None)
        return cast("Tensor", found.last_hidden_state if pooled is None else pooled.flatten(1))

    def forward_head(self, features: Tensor) -> Tensor:
        """To [b, d]."""
        if features.ndim == 3:
            return features[:, 0] if self.has_class_token else features.mean(1)
        return features.flatten(2).mean(2) if features.ndim == 4 else features

    @property
    def pooling_in_words(self) -> str:
        if getattr(self.network, "pooler", None) is not None:
            return "features are the library's pooled output"
        return f"features are {'the class token' if self.has_class_token else 'the mean over positions'}"


def shortened(config: Mapping[str, Any]) -> str:
    """Configuration as JSON, without entries that do not change the function."""
    return json.dumps({key: value for key, value in config.items() if key not in UNUSED}, sort_keys=True)


def make_transformers(config_json: object, *, pools: bool = True) -> TransformersBackbone:
    """Model of a configuration with initial weights. Raises WeightsError where the library has none for images."""
    kind, config = _class(config_json)
    without = not pools and _can_do_without_pooler(kind)
    return TransformersBackbone(kind(config, add_pooling_layer=False) if without else kind(config))


def filled(config_json: object, tensors: Mapping[str, Tensor]) -> tuple[TransformersBackbone, tuple[str, ...]]:
    """Model with the tensors, which the library renames, and the unused keys.

    Raises WeightsError unless every tensor of the model is present with its shape. A pooler without weights is dropped.
    """
    kind, config = _class(config_json)
    network, report = _loaded(kind, config, tensors)
    missing = sorted(report["missing_keys"])
    if missing and all(key.startswith("pooler.") for key in missing) and _can_do_without_pooler(kind):
        network, report = _loaded(kind, config, tensors, add_pooling_layer=False)
        missing = sorted(report["missing_keys"])
    bad = [*missing, *map(str, report["mismatched_keys"])]
    if bad:
        raise WeightsError(
            f"{len(bad)} tensors of {kind.__name__} of transformers are missing or differ: {bad[0]}, ..."
        )
    return TransformersBackbone(network.float()), tuple(sorted(report["unexpected_keys"]))


def _loaded(kind: Any, config: Any, tensors: Mapping[str, Tensor], **arguments: bool) -> tuple[Any, Mapping[str, Any]]:  # noqa: ANN401
    logging: Any = importlib.import_module("transformers").utils.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    loaded: tuple[Any, Mapping[str, Any]] = kind.from_pretrained(
        None, config=config, state_dict=dict(tensors), output_loading_info=True, ignore_mismatched_sizes=True,
        **arguments,
    )  # fmt: skip
    return loaded


def _class(config_json: object) -> tuple[Any, Any]:
    """Class of a configuration, and the configuration."""
    if not is_installed():
        raise WeightsError(f"it requires the transformers library: {EXTRA}")
    library: Any = importlib.import_module("transformers")
    try:
        stated = json.loads(str(config_json))
        config = library.CONFIG_MAPPING[stated["model_type"]].from_dict(stated)
        kind = library.MODEL_MAPPING[type(config)]
    except (KeyError, ValueError, TypeError) as error:
        raise WeightsError(
            f"the installed transformers library has no class for its configuration ({error})"
        ) from error
    if getattr(kind, "main_input_name", None) != "pixel_values":
        raise WeightsError(f"{kind.__name__} of transformers requires more inputs than images")
    return kind, config


def _can_do_without_pooler(kind: Any) -> bool:  # noqa: ANN401
    return "add_pooling_layer" in inspect.signature(kind.__init__).parameters
