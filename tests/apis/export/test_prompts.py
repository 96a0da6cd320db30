"""Encoders of images and decoders of prompts in ONNX Runtime, against ``Predictor``."""

import json

import numpy as np
import onnxruntime
import pytest
import torch

from mmsam_peft.apis import Predictor
from mmsam_peft.apis.export.prompt_files import export_prompts

from .conftest import HIERA, MODELS, other_encoder, several_tasks
from .test_export import picture

PROMPTS = {'model.decode_head.prompts': True, 'model.checkpoint': None}
PADDED = {
    'model.data_preprocessor.test_cfg': dict(size=(64, 64)),
    'test_pipeline': [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(64, 64), keep_ratio=True, interpolation='bilinear'),
        dict(type='PackSegInputs'),
    ],
}


class AsSegmentAnything:
    """A program made for segment-anything's export, with numpy and ONNX Runtime."""

    def __init__(self, folder, fine: bool) -> None:
        self.encoder, self.decoder = (
            onnxruntime.InferenceSession(folder / f'sam_{part}.onnx')
            for part in ('encoder', 'decoder')
        )
        self.fine = fine

    def set_image(self, image: np.ndarray) -> None:
        names = [one.name for one in self.encoder.get_outputs()]
        found = self.encoder.run(
            None, {self.encoder.get_inputs()[0].name: image.astype(np.float32)}
        )
        self.maps, self.size = dict(zip(names, found, strict=True)), image.shape[:2]

    def predict(self, points, labels, box=None, mask=None) -> list[np.ndarray]:
        places = [*points, *([] if box is None else np.reshape(box, (2, 2)))]
        kinds = [*labels, *([] if box is None else (2, 3))]
        if box is None and places or self.fine:
            places, kinds = [*places, (0, 0)], [*kinds, -1]
        new = [int(side * 1024 / max(self.size) + 0.5) for side in self.size]
        places = np.reshape(places, (-1, 2)) * (np.array(new) / self.size)[::-1]
        given = dict(
            point_coords=places[None].astype(np.float32),
            point_labels=np.array(kinds, np.float32)[None],
            mask_input=np.zeros((1, 1, 256, 256), np.float32) if mask is None else mask[None],
            has_mask_input=np.array([mask is not None], np.float32),
            orig_im_size=np.array(self.size, np.float32),
        )
        return self.decoder.run(['masks', 'iou_predictions', 'low_res_masks'], self.maps | given)


def own_maps(predictor: Predictor) -> list[np.ndarray]:
    head, maps = predictor.model.decode_head, predictor.embedding.maps
    with torch.no_grad():
        found = [head._transform_inputs(maps), *(head.finer(maps) or ())]
    return [one.numpy() for one in found]


@pytest.mark.slow
@pytest.mark.parametrize('fine', [False, True])
def test_answers_are_those_of_a_predictor(trained, tmp_path, fine):
    """To clicks, a box, both and an earlier mask, of images of other sizes, padded by SAM's encoder
    and stretched by SAM 2's."""
    own = other_encoder('Hiera', HIERA, 'LoRA') if fine else PADDED
    model, folder = trained({**own, **PROMPTS, 'model.decode_head.depth': 1}), tmp_path / 'out'
    made = export_prompts(model, folder / 'sam.onnx')
    assert sorted(path.name for path in folder.iterdir()) == [
        'sam_decoder.onnx',
        'sam_encoder.onnx',
    ]
    for one in made.values():
        assert one.check['difference'] < 1e-4 and one.check['own'] > 0.99
    program, predictor = AsSegmentAnything(folder, fine), Predictor(model)
    about = program.decoder.get_modelmeta().custom_metadata_map['mmsam_peft']
    assert json.loads(about)['part'] == 'decoder' and json.loads(about)['kind'] == 'binary'
    for size in ((50, 90), (100, 31)):
        image = picture(*size)
        program.set_image(image)
        predictor.set_image(image)
        names, seen = list(program.maps), own_maps(predictor)
        for name, own in zip(names, seen, strict=True):  # where Pillow has rounded otherwise
            assert (np.abs(program.maps[name] - own) < 1e-2 * np.abs(own).max()).mean() > 0.99
        program.maps = dict(zip(names, seen, strict=True))
        click, other = (size[1] / 3, size[0] / 2), (size[1] / 1.5, size[0] / 4)
        box, mask = (4, 5, size[1] / 2, size[0] / 1.2), None
        for points, labels, corners in (
            ([click], [1], None),
            ([click, other], [1, 0], None),
            ([], [], box),
            ([other], [0], box),
            ([click] * 7, [1] * 7, None),
        ):
            found = program.predict(points, labels, corners, mask)
            for number, several in ((slice(1), False), (slice(1, None), True)):
                wanted = predictor.predict(
                    points or None, labels or None, corners, mask, several, return_logits=True
                )
                for ours, its in zip(found, wanted, strict=True):
                    assert ours[0, number].shape == its.shape
                    scale = max(1, np.abs(its).max())
                    np.testing.assert_allclose(ours[0, number], its, atol=1e-3 * scale)
            mask = found[2][0, :1]


def test_models_that_it_is_not_for(trained, tmp_path):
    for options, words in (
        ({}, 'answers no prompts. Switch them on: decode_head.prompts=True'),
        (several_tasks('LoRA'), 'answers no prompts. Prompts mean one object'),
        (MODELS['LoRA, classes'](), 'answers no prompts'),
    ):
        with pytest.raises(ValueError, match=words):
            export_prompts(trained(options), tmp_path / 'sam.onnx')
    model = trained(PROMPTS)
    with pytest.raises(ValueError, match='has to end in .onnx'):
        export_prompts(model, tmp_path / 'out/sam.pt2')
    model.cfg.test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]
    with pytest.raises(ValueError, match='has 0 that resize, .* no place. Use one that'):
        export_prompts(model, tmp_path / 'out/sam.onnx')
    assert not (tmp_path / 'out').exists()
