"""What is exported of a model: from images to logits and masks, without the program around it."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.decode_heads.sam_decoder import to_image
from ...models.segmentors import MultiTaskSegmentor
from .geometry import Geometry
from .resampling import antialiased, bilinear, shrunk, sides_in_proportion


class Network(nn.Module):
    """
    Args:
        model: In evaluation; its config says how images are read.
        geometry: Of its images.
        tasks: Of a multi-task model, which of its tasks are answered.
        preprocessing: Images are uint8 (B, H, W, 3), RGB, and are normalised here; else they are
            float32 (B, C, H, W), normalised.
        resize: Images have any size, as have the answers; else both have ``geometry.size``.
    """

    def __init__(
        self,
        model: nn.Module,
        geometry: Geometry,
        tasks: list[str] | None,
        preprocessing: bool,
        resize: bool,
    ) -> None:
        super().__init__()
        self.model, self.geometry, self.tasks = model, geometry, tasks
        self.preprocessing, self.resize = preprocessing, resize
        self.several = isinstance(model, MultiTaskSegmentor)
        self.names = [
            name
            for task in (tasks if self.several else ['masks'])
            for name in (task, f'{task}_logits' if self.several else 'logits')
        ]
        """Of the outputs: answers and logits in turn."""
        one = model.data_preprocessor
        self.normalised = bool(getattr(one, '_enable_normalize', False))
        self.rgb = bool(getattr(one, '_channel_conversion', False))
        self.pad_value = float(getattr(one, 'pad_val', 0) or 0)
        if self.normalised:
            self.register_buffer('mean', one.mean.detach().clone(), False)
            self.register_buffer('std', one.std.detach().clone(), False)

    inputs: Sequence[str] = ('images',)
    """Their names."""

    @property
    def axes(self) -> tuple:
        """Which axes of the inputs have any length."""
        axes = {0: torch.export.Dim('batch', min=1)}
        if self.resize:
            first = 1 if self.preprocessing else 2
            axes |= {
                first: torch.export.Dim('height', min=2),
                first + 1: torch.export.Dim('width', min=2),
            }
        return (axes,)

    def examples(self) -> tuple:
        """Values of the inputs."""
        return (self.example(),)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Answers and their logits in turn, as ``names`` says: masks (B, H, W) of class numbers
        and logits (B, K, H, W); or, of each task, its values (B, c, H, W) and its logits."""
        height, width = images.shape[1:3] if self.preprocessing else images.shape[2:]
        made = self.made(height, width)
        found: list[Tensor] = []
        for name, logits in self.logits(self.prepared(images)).items():
            if self.resize:
                rows, columns = (
                    bilinear(new, side, old)
                    for new, side, old in zip(
                        (height, width), made, self.geometry.size, strict=True
                    )
                )
                logits = rows @ (logits @ columns.T)
            found += [self.answer(name, logits), logits]
        return tuple(found)

    def prepared(self, images: Tensor) -> Tensor:
        """What the model sees of images, (B, C, H, W)."""
        height, width = images.shape[1:3] if self.preprocessing else images.shape[2:]
        if self.preprocessing:
            images = images.permute(0, 3, 1, 2).float()
            images = images if self.rgb else images.flip(1)
        made = self.made(height, width)
        if self.resize:
            how = self.geometry.interpolation
            rows, columns = (
                antialiased(new, side, old, how)
                for new, side, old in zip(self.geometry.size, made, (height, width), strict=True)
            )
            images = shrunk(images, rows, columns, whole=self.preprocessing)
        if self.preprocessing and self.normalised:
            images = (images - self.mean) / self.std
        if self.resize and self.geometry.long_sides:
            inside = [
                torch.arange(new) < side for new, side in zip(self.geometry.size, made, strict=True)
            ]
            images = torch.where(inside[0][:, None] & inside[1], images, self.pad_value)
        return images

    def made(self, height: int, width: int) -> tuple[Tensor | int, Tensor | int]:
        """The sides that an image gets before it is padded."""
        if not self.geometry.long_sides:
            return self.geometry.size
        return sides_in_proportion(height, width, self.geometry.long_sides, self.geometry.rounding)

    def logits(self, images: Tensor) -> dict[str, Tensor]:
        """Of normalised images of the network's size, (B, K, H, W) by task."""
        size = tuple(self.geometry.size)
        if not self.several:
            return dict(masks=self.model.encode_decode(images, [dict(img_shape=size)]).float())
        stride = self.model.decode_head.stride
        outputs = self.model.outputs(images, self.tasks)
        return {name: to_image(output.float(), size, stride) for name, output in outputs.items()}

    def answer(self, name: str, logits: Tensor) -> Tensor:
        if self.several:
            values = self.model.tasks[name].predict(logits)
            return values if values.is_floating_point() else _small(values, logits.shape[1])
        if logits.shape[1] == 1:
            return (logits[:, 0].sigmoid() > self.model.decode_head.threshold).to(torch.uint8)
        return _small(logits.argmax(1), logits.shape[1])

    def example(self, batch: int = 2, seed: int = 0, size: tuple[int, int] | None = None) -> Tensor:
        """Random images, with shapes and noise in them."""
        generator = torch.Generator().manual_seed(seed)
        height, width = self.geometry.size
        if self.resize:
            height, width = size or (height * 3 // 4 + 1, width * 5 // 4 + 3)
        channels = 3 if self.preprocessing else getattr(self.model.backbone, 'in_channels', 3)
        coarse = torch.randn(batch, channels, 6, 6, generator=generator)
        images = F.interpolate(coarse, size=(height, width), mode='bicubic')
        images = images + 0.2 * torch.randn(images.shape, generator=generator)
        if not self.preprocessing:
            return images
        return (images * 60 + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _small(numbers: Tensor, classes: int) -> Tensor:
    return numbers.to(torch.uint8 if classes <= 256 else torch.int32)
