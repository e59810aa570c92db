"""Tensors that a backbone's features do not depend on, with the reason for each kind; other leftovers must not be
dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_KINDS: tuple[tuple[str, str], ...] = (
    (
        (
            r"(head|heads|fc|classifier|cls_head|head_dist|last_linear|lin_cls|linear_classifier|lm_head|aux_classifier|"
            r"auxiliary_head|AuxLogits|linear|logits|clf|online_classifier|online_fc)(\.|$)(?!.*(norm|token|pool|probe|attn|"
            r"attention|pos_embed))"
        ),
        "a classifier or the head of a pretraining",
    ),
    (
        (
            r"(\w*projector|projection|\w*projection_head|proj_head|\w*predictor|\w*prediction_head|proj|pred_head|"
            r"prototypes?\d*|\w*projection_mlp|contrastive_head|dino_head|ibot_head|student_head|projectors|"
            r"predictor_\w+|projection_\w+)(\.|$)"
        ),
        "a projector, predictor or prototypes of a pretraining",
    ),
    (
        (
            r"(decoder|decoder_\w+|decode_head|segmentation_head|neck|rpn|rpn_head|roi_heads|roi_head|bbox_head|fpn|"
            r"mask_head|decoders|reconstruction_head|proposal_generator)(\.|$)"
        ),
        "a decoder or the head of another task",
    ),
    (r"(.*\.)?(mask_token|masked_embed|mask_embed)$", "a token that only masked pretraining uses"),
    (r"((.*\.)?(queue|queue_ptr|queue_\w+)|queue\d*)$", "a queue of a contrastive pretraining"),
    (r"(\w*loss\w*|criterion|center|centers|\w*_loss_fn)(\.|$)", "buffers of a loss"),
    (r"(.*\.)?(num_batches_tracked|n_averaged|num_updates|_num_updates|step|decay|epoch)$", "a counter"),
    (
        (
            r"(.*\.)?(relative_position_index|relative_coords_table|attn_mask|position_ids|rope_embed\.periods|bias_mask|"
            r"rope\.(periods|freqs_cos|freqs_sin)|attention_bias_idxs|attention_biases_idxs)$"
        ),
        "a table that the architecture computes itself",
    ),
    (
        r"(data_preprocessor|pixel_mean|pixel_std|image_mean|image_std|normalize|preprocess)(\.|$)",
        "numbers of the preprocessing",
    ),
    (r"pooler\.dense\.", "transformers' pooler, a layer after the features"),
    (r"pre_logits\.", "a layer of the classifier, which timm omits as well"),
    (
        (
            r"(text_model|text|text_projection|token_embedding|ln_final|logit_scale|logit_bias|text_encoder|bert|"
            r"language_model|lm|textual)(\.|$)"
        ),
        "the text tower of a model of images and text",
    ),
    (r"(metrics?|train_\w*(acc|metric)\w*|val_\w*(acc|metric)\w*|knn\w*|accuracy\w*)(\.|$)", "a metric's counters"),
)
HARMLESS = tuple((re.compile(pattern), reason) for pattern, reason in _KINDS)
ADAPTER = re.compile(r"(^|[._])(lora|loha|lokr|adapter|adapters|dora|ia3|vera)([._]|$|[AB]_)", re.IGNORECASE)
"""Parts of the names of adapters, which change the network's function."""


def harmless(key: str) -> str | None:
    """Why features do not depend on the tensor; None when unknown."""
    if ADAPTER.search(key):
        return None
    return next((reason for pattern, reason in HARMLESS if pattern.match(key)), None)


def adapters(keys: Iterable[str]) -> list[str]:
    """Keys that belong to an adapter."""
    return [key for key in keys if ADAPTER.search(key)]
