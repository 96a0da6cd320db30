"""From a batch of images, or of their stored maps, to what the trained part of an encoder begins
with."""

import torch
from torch import Tensor, nn

from ..datasets.feature_cache import FeatureStore, HalfMap
from .backbones.frozen_prefix import Encoded, FrozenPrefix


class EncodingPreprocessor(nn.Module):
    """A model's preprocessor that, in training, also runs the frozen beginning of the encoder, for
    images whose map is not stored, and stores it. Such images are encoded one by one, and new maps
    rounded as the stored ones are: what is trained depends neither on what was stored nor on the
    batches it was stored in. A map that is not finite is not stored, but goes on as it is, to a
    loss that is not finite either.

    Takes the batches of a ``CachedPipeline``; the others, of validation and test, go to ``base``
    alone.

    Args:
        base: The model's own, which pads every image to the same size.
    """

    def __init__(self, base: nn.Module, prefix: FrozenPrefix, store: FeatureStore) -> None:
        super().__init__()
        self.base, self.prefix, self.store = base, prefix, store

    def forward(self, data: dict, training: bool = False) -> dict:
        if not training:
            return self.base(data, training)
        inputs, samples = list(data['inputs']), self.base.cast_data(data['data_samples'])
        for i, x in enumerate(inputs):
            if isinstance(x, Tensor):
                image = self.base(dict(inputs=[x], data_samples=[samples[i]]), training)
                inputs[i], (samples[i],) = self.prefix(image['inputs'])[0], image['data_samples']
                if inputs[i].isfinite().all():
                    inputs[i] = HalfMap.of(inputs[i])
                    self.store.write(data['item'][i], inputs[i], samples[i])
        maps = torch.stack(
            [x if isinstance(x, Tensor) else x.restored(self.base.device) for x in inputs]
        )
        return dict(inputs=Encoded(self.prefix, maps), data_samples=samples)
