"""One encoder, several dense tasks."""

import copy
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from ...adapters.match import cure_for_one_task
from ...peft.per_task import PerTaskMethod
from ...registry import MODELS, PEFT, WEIGHTINGS
from ...tasks import build_tasks
from ..decode_heads.sam_decoder import to_image
from .finite_outputs import require_finite_outputs
from .peft_segmentor import PEFTSegmentor, at_least_float32


@MODELS.register_module()
class MultiTaskSegmentor(PEFTSegmentor):
    """A fine-tuned encoder with a decoder per task.

    With a method that adapts the encoder for each task (``PerTaskMethod``: TA-LoRA, one LoRA per
    task) every task decodes a map of its own; with any other they share one map.

    Samples carry ``gt_TASK``, with ``data`` (c, H, W) and ``valid`` (1, H, W); a sample may lack
    tasks. A loss is a mean over the valid pixels of the batch; data-parallel processes have one
    each, which count alike, also one whose samples lack the task, with a loss of zero. Predictions
    are ``pred_TASK`` at the size of the original image.

    Args:
        tasks: Configs of the tasks, in the order of a per-task method's tasks.
        backbone: Its method's ``num_tasks``, where it has one, comes from the tasks.
        decode_head: Config of an ``MSAMHead``; the channels come from the tasks.
        weighting: How the tasks' losses become one step, of the registry ``WEIGHTINGS``; None:
            their mean by the weights.
        one_by_one: Train the tasks of a batch one after the other, with gradients accumulated: the
            same step with the memory of a single task.
        kwargs: ``PEFTSegmentor``'s: checkpoint, data_preprocessor, ...

    Raises:
        ValueError: Two tasks of one name; the method is made for another number of tasks;
            ``one_by_one`` with a weighting that needs all losses at once.
    """

    def __init__(
        self,
        tasks: Sequence[dict],
        backbone: dict,
        decode_head: dict,
        weighting: dict | None = None,
        one_by_one: bool = False,
        **kwargs,
    ) -> None:
        configs = copy.deepcopy(list(tasks))
        tasks = {task.name: task for task in build_tasks(configs)}
        channels = {name: task.channels for name, task in tasks.items()}
        super().__init__(
            for_tasks(backbone, len(tasks)),
            decode_head={**decode_head, 'channels': channels},
            **kwargs,
        )
        self.tasks, self.one_by_one = tasks, one_by_one
        self.made_of['tasks'] = configs
        self.head_cfg['tasks'] = ', '.join(
            map(str, tasks.values())
        )  # in whose order weights are kept
        weights = {name: task.weight for name, task in tasks.items()}
        self.weighting = WEIGHTINGS.build({**(weighting or dict(type='Fixed')), 'tasks': weights})
        if one_by_one:
            self.weighting.require_one_by_one()
        method = self.backbone.peft
        if isinstance(method, PerTaskMethod) and method.num_tasks != len(tasks):
            raise ValueError(
                f'backbone.peft.num_tasks={method.num_tasks}, but there are {len(tasks)} tasks: '
                f'{", ".join(tasks)}. Set it to {len(tasks)}.'
            )

    def _init_decode_head(self, decode_head: dict) -> None:
        self.decode_head = MODELS.build(decode_head)
        self.align_corners, self.num_classes, self.out_channels = (
            False,
            None,
            sum(self.decode_head.channels.values()),
        )

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination._metadata[prefix[:-1]]['tasks'] = list(self.tasks)

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, local_metadata: dict, *args
    ) -> None:
        """Raises ValueError, beside ``PEFTSegmentor``'s, when the encoder was adapted to other
        tasks, or in another order."""
        found, own = local_metadata.get('tasks', list(self.tasks)), list(self.tasks)
        if found != own and isinstance(self.backbone.peft, PerTaskMethod):
            cure = cure_for_one_task(found, own) or 'Use the config it was trained with.'
            raise ValueError(
                f"The checkpoint's encoder was adapted to the tasks {', '.join(found)}, in this "
                f'order; the model has {", ".join(own)}. {cure}'
            )
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def outputs(self, inputs: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Images (B, 3, H, W) to the outputs (B, K, 4h, 4w) of the tasks ``names``."""
        method, order = self.backbone.peft, list(self.tasks)
        if not isinstance(method, PerTaskMethod):
            return self.decode_head(dict.fromkeys(names, self.extract_feat(inputs)))
        method.select(self.backbone, [order.index(name) for name in names])
        try:
            maps = self.extract_feat(inputs)  # (tasks * B, C, h, w), task after task
        finally:
            method.select(self.backbone, None)
        per_task = zip(*(x.unflatten(0, (len(names), -1)).unbind() for x in maps), strict=True)
        return self.decode_head(dict(zip(names, per_task, strict=True)))

    def loss(self, inputs: Tensor, data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        """``TASK.loss``, unweighted, of every task, and the method's own losses."""
        if self.one_by_one:
            compute = partial(self._losses, inputs, data_samples)
            return {
                f'{name}.loss': self.weighting.later(inputs.device.type, partial(compute, [name]))
                for name in self.tasks
            }
        return self._losses(inputs, data_samples, list(self.tasks))

    def _losses(
        self, inputs: Tensor, data_samples: list[SegDataSample], names: Sequence[str]
    ) -> dict[str, Tensor]:
        method = self.backbone.peft
        return {
            **self.task_losses(inputs, data_samples, names),
            **(method.aux_losses(self.backbone) if method else {}),
        }

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return self.weighting(losses, self.parameters())

    def task_losses(
        self, inputs: Tensor, data_samples: list[SegDataSample], names: Sequence[str]
    ) -> dict[str, Tensor]:
        """The losses at label size of the tasks ``names`` alone, so that they can be trained one
        after the other."""
        losses = {}
        for name, output in self.outputs(inputs, names).items():
            task = self.tasks[name]
            labels, valid = self._labels(task, data_samples, output)
            resized = [
                self._resize(one, sample, label.shape[1:], self.decode_head.stride / 4)
                for one, sample, label in zip(
                    at_least_float32(output), data_samples, labels, strict=True
                )
            ]
            losses[f'{name}.loss'] = task.loss(*(_stack(maps) for maps in (resized, labels, valid)))
        return losses

    def predict(
        self, inputs: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """The samples with ``pred_TASK`` of every task, (c, H, W), at the size of the original
        image. NotFiniteError when an output is NaN or infinite."""
        samples = data_samples or [
            SegDataSample(
                metainfo=dict.fromkeys(('img_shape', 'ori_shape'), tuple(inputs.shape[2:]))
            )
            for _ in inputs
        ]
        outputs, scale = self.whole_or_windows(inputs)
        for name, output in outputs.items():
            require_finite_outputs(output, samples, f'outputs of the task {name}')
            for one, sample in zip(at_least_float32(output), samples, strict=True):
                prediction = self.tasks[name].predict(
                    self._resize(one, sample, sample.ori_shape, scale)[None]
                )[0]
                sample.set_field(PixelData(data=prediction), f'pred_{name}')
        return samples

    def whole_or_windows(self, inputs: Tensor) -> tuple[dict[str, Tensor], float]:
        """The outputs (B, K, ..) of all tasks, and how many times as large the input is: of the
        whole image, or at its size, averaged over the windows of ``test_cfg``."""
        if self.test_cfg.get('mode') != 'slide':
            return self.outputs(inputs, list(self.tasks)), self.decode_head.stride / 4
        maps = self.slide_inference(inputs, [{}])
        return dict(
            zip(self.tasks, maps.split(list(self.decode_head.channels.values()), 1), strict=True)
        ), 1

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """The outputs of all tasks, one after the other, at the size of the inputs: (B, K of all,
        H, W)."""
        outputs = self.outputs(inputs, list(self.tasks)).values()
        return torch.cat(
            [to_image(output, inputs.shape[2:], self.decode_head.stride) for output in outputs], 1
        )

    def _forward(
        self, inputs: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> dict[str, Tensor]:
        return self.outputs(inputs, list(self.tasks))

    def _labels(
        self, task, samples: list[SegDataSample], output: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Label (c, H, W) and validity (1, H, W) of every sample; one that lacks the task has no
        valid pixel."""
        labels, valid = [], []
        for sample in samples:
            found = sample.get(f'gt_{task.name}')
            size = tuple(sample.img_shape[:2]) if found is None else found.data.shape[1:]
            labels.append(
                output.new_zeros(task.label_channels, *size) if found is None else found.data
            )
            valid.append(
                torch.zeros(1, *size, dtype=torch.bool, device=output.device)
                if found is None
                else found.valid
            )
        return labels, valid

    def _resize(
        self, output: Tensor, sample: SegDataSample, size: Sequence[int], scale: float
    ) -> Tensor:
        """One sample's output to (K, *size): ``scale`` times up to the network's input, whose
        padding is cut off, and on."""
        height, width = sample.img_shape[:2]
        image = F.interpolate(
            output[None], scale_factor=scale, mode='bilinear', align_corners=False
        )
        return F.interpolate(
            image[..., :height, :width], size=tuple(size[:2]), mode='bilinear', align_corners=False
        )[0]


def _stack(maps: list[Tensor]) -> Tensor:
    """(c, H, W) of any sizes to (B, c, H, W), zero-padded: padding is not valid and enters no
    loss."""
    H, W = (max(one.shape[axis] for one in maps) for axis in (1, 2))
    return torch.stack([F.pad(one, (0, W - one.shape[2], 0, H - one.shape[1])) for one in maps])


def for_tasks(backbone: dict, number: int) -> dict:
    """The backbone's config, its method made for so many tasks where it adapts the encoder for each
    and says no number."""
    peft = backbone.get('peft')
    kind = PEFT.get(peft['type']) if peft and isinstance(peft.get('type'), str) else None
    if kind is None or not issubclass(kind, PerTaskMethod) or 'num_tasks' in peft:
        return backbone
    return {**backbone, 'peft': {**peft, 'num_tasks': number}}
