"""Exported files in ONNX Runtime, against the models that they are made of."""

import json

import numpy as np
import onnxruntime
import pytest
import torch

from mmsam_peft.adapters.match import save_adapter
from mmsam_peft.apis import read_header
from mmsam_peft.apis.export import export_model
from mmsam_peft.apis.inference import inference_model

from .conftest import MODELS, MULTICLASS, TASKS, peft, several_tasks


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """RGB."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.normal(size=(1, 3, 5, 5)))
    fine = torch.nn.functional.interpolate(coarse, size=(height, width), mode='bicubic')[0]
    return (fine.permute(1, 2, 0).numpy() * 70 + 128).clip(0, 255).astype(np.uint8)


def run(path, images: np.ndarray) -> tuple[dict, dict]:
    """The outputs by name, and what the file says of itself."""
    session = onnxruntime.InferenceSession(path)
    about = json.loads(session.get_modelmeta().custom_metadata_map['mmsam_peft'])
    return dict(zip(about['outputs'], session.run(None, {'images': images}), strict=True)), about


def check_answers(path, model, batch: int, size: tuple[int, int]) -> dict:
    """Whether a file answers to images of a size as ``inference_model`` does; what it says."""
    images = np.stack([picture(*size, seed) for seed in range(batch)])
    found, about = run(path, images)
    samples = inference_model(model, [np.ascontiguousarray(one[..., ::-1]) for one in images])
    for number, sample in enumerate(samples):
        if about['kind'] == 'tasks':
            for name in about['tasks']:
                ours, its = found[name][number], sample.get(f'pred_{name}').data.numpy()
                if ours.dtype == np.uint8:
                    assert (ours == its).mean() >= 0.999
                else:
                    np.testing.assert_allclose(ours, its, atol=2e-3)
            continue
        its = sample.seg_logits.data.numpy()
        ours = found['logits'][number]
        ours = 1 / (1 + np.exp(-ours)) if len(ours) == 1 else ours
        np.testing.assert_allclose(ours, its, atol=2e-3 * max(1, np.abs(its).max()))
        same = found['masks'][number] == sample.pred_sem_seg.data[0].numpy()
        assert found['masks'].dtype == np.uint8 and same.mean() >= 0.999
        assert len(np.unique(found['masks'])) > 1, 'something to find, and something to miss'
    return about


def test_conv_lora_with_its_experts(trained, tmp_path):
    """As a file of two batch sizes and two sizes of images; and what the file says of itself."""
    model = trained(MODELS['ConvLoRA']())
    with torch.no_grad():
        logits = model.test_step(
            dict(inputs=[torch.randint(255, (3, 64, 64), dtype=torch.uint8)], data_samples=None)
        )[0].seg_logits.data
    model.decode_head.threshold = logits.median().item()
    save_adapter(model, tmp_path / 'adapter.safetensors', model.dataset_meta)
    made = export_model(
        model, tmp_path / 'model.onnx', weights=tmp_path / 'adapter.safetensors'
    )
    assert made.check['difference'] < 1e-4 and made.check['same'] > 0.999
    check_answers(tmp_path / 'model.onnx', model, 1, (48, 90))
    about = check_answers(tmp_path / 'model.onnx', model, 3, (100, 64))
    assert about == json.loads(json.dumps(made.about))
    assert (about['kind'], about['classes']) == ('binary', ['background', 'disc'])
    assert about['palette'] == [[0, 0, 0], [0, 255, 0]]
    assert about['threshold'] == pytest.approx(model.decode_head.threshold)
    steps = about['preprocessing']
    assert steps['size'] == [64, 64] and steps['mean'] == [128] * 3 and steps['std'] == [64] * 3
    assert steps['inside'] and steps['resize'] == 'inside' and steps['channels'] == 'RGB'
    header = read_header(tmp_path / 'adapter.safetensors')
    assert about['adapter']['sha256'] == header['sha256'] and not about['adapter']['merged']
    content = (tmp_path / 'model.onnx').read_bytes()
    assert str(tmp_path).encode() not in content and b'site-packages' not in content
    assert sorted(path.name for path in tmp_path.glob('model*')) == ['model.onnx']


@pytest.mark.slow
def test_images_in_proportion_and_one_task(trained, tmp_path):
    """TA-LoRA, merged for a task; what is padded takes no part."""
    model = trained(several_tasks('TALoRA'))
    made = export_model(model, tmp_path / 'seg.onnx', task='seg')
    assert made.about['adapter'] is None and list(made.about['tasks']) == ['seg']
    for size in ((48, 90), (100, 64)):
        check_answers(tmp_path / 'seg.onnx', model, 2, size)


def test_a_program_of_pytorch(trained, tmp_path):
    """.pt2, of numbers of the network's size."""
    model = trained({**peft('LoRA'), **MULTICLASS})
    export_model(model, tmp_path / 'model.pt2', preprocessing='outside', resize='outside')
    files = {'mmsam_peft.json': ''}
    program = torch.export.load(tmp_path / 'model.pt2', extra_files=files).module()
    about = json.loads(files['mmsam_peft.json'])
    assert about['kind'] == 'multi-class' and about['preprocessing']['channels'] == 'RGB'
    for batch in (1, 3):
        images = torch.randn(batch, 3, 64, 64)
        with torch.no_grad():
            wanted = model.encode_decode(images, [dict(img_shape=(64, 64))])
            masks, logits = program(images)
        torch.testing.assert_close(logits, wanted, rtol=1e-3, atol=1e-3)
        assert masks.equal(wanted.argmax(1).to(torch.uint8))


@pytest.mark.slow
@pytest.mark.parametrize('name', [name for name in MODELS if name != 'ConvLoRA'])
def test_every_kind_of_model(trained, tmp_path, name):
    model = trained(MODELS[name]())
    export_model(model, tmp_path / 'model.onnx')
    about = check_answers(tmp_path / 'model.onnx', model, 2, (48, 90))
    if about['kind'] == 'tasks':
        assert list(about['tasks']) == [task['name'] for task in TASKS]
