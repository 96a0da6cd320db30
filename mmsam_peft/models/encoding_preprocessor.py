"""From a batch of images, or of their stored maps, to what the trained part of an encoder begins with."""
import torch
from torch import Tensor, nn

from ..datasets.feature_cache import FeatureStore, HalfMap
from .backbones.frozen_prefix import Encoded, FrozenPrefix


class EncodingPreprocessor(nn.Module):
    """A model's preprocessor that, in training, also runs the frozen beginning of the encoder, for images whose map is not
    stored, and stores it. New and stored maps are both rounded to 16 bit: what is trained does not depend on what was stored.

    Takes the batches of a ``CachedPipeline``; the others, of validation and test, go to ``base`` alone.

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
        new = [i for i, x in enumerate(inputs) if isinstance(x, Tensor)]
        if new:
            batch = self.base(dict(inputs=[inputs[i] for i in new], data_samples=[samples[i] for i in new]), training)
            for i, x, sample in zip(new, self.prefix(batch['inputs']), batch['data_samples'], strict=True):
                inputs[i], samples[i] = HalfMap.of(x), sample
                self.store.write(data['item'][i], inputs[i], sample)
        maps = torch.stack([x.restored(self.base.device) for x in inputs])
        return dict(inputs=Encoded(self.prefix, maps), data_samples=samples)
