"""How public programs differ from our defaults, as data; docs/protocols.md explains each line."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Rule:
    """Arguments of everything of a type below some places of a config."""

    type: str
    values: dict[str, Any]
    parts: tuple[str, ...] = ('model',)


@dataclass(frozen=True)
class Protocol:
    """What a program does otherwise.

    Attributes:
        source: The paper and its program.
        model, head: The types it is for; any head where None.
        rules: By the type of what they change.
        places: Values by dotted place.
        scored_at: (height, width) at which masks are compared; None: the mask's own size.
    """

    source: str
    model: str
    head: str | None
    rules: tuple[Rule, ...]
    places: dict[str, Any] = field(default_factory=dict)
    scored_at: tuple[int, int] | None = None


EVALUATORS = ('val_evaluator', 'test_evaluator')

PROTOCOLS = dict(
    conv_lora_2024=Protocol(
        source='Conv-LoRA (ICLR 2024, arXiv 2401.17868), the program in AutoGluon',
        model='PEFTSegmentor',
        head='SAMMaskHead',
        rules=(
            Rule('StructureLoss', dict(bce='plain')),
            Rule('SetPredictionLoss', dict(class_weight=1.0, mask_weight=1.0, dice_weight=1.0)),
            Rule('ConvLoRA', dict(balance_weight=1.0)),
            Rule('BinaryMetric', dict(empty='zero', ber_threshold=125 / 255), EVALUATORS),
            Rule('SaliencyMetric', dict(normalize='minmax', wf_beta2=0.3), EVALUATORS),
        ),
        places={'train_dataloader.batch_size': 1, 'optim_wrapper.accumulative_counts': 4},
        scored_at=(1024, 1024),
    ),
    ta_lora_2024=Protocol(
        source='TA-LoRA (arXiv 2403.10971), the program of its successor MTSAM (ICLR 2025)',
        model='MultiTaskSegmentor',
        head='MSAMHead',
        rules=(
            Rule('SegDataPreProcessor', dict(mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0])),
            Rule('Depth', dict(protocol='per_image'), EVALUATORS),
            Rule('InverseDepth', dict(protocol='per_image'), EVALUATORS),
            Rule('SurfaceNormals', dict(protocol='per_image'), EVALUATORS),
        ),
    ),
)
