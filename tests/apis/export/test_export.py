"""Exported files in ONNX Runtime, against the models that they are made of."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from mmsam_peft.adapters.match import save_adapter
from mmsam_peft.apis import read_header
from mmsam_peft.apis.export import check, export_model, files, network_of
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
                    assert (np.abs(ours - its) < 2e-3).mean() > 0.99
            continue
        its = sample.seg_logits.data.numpy()
        ours = found['logits'][number]
        ours = 1 / (1 + np.exp(-ours)) if len(ours) == 1 else ours
        np.testing.assert_allclose(ours, its, atol=2e-3 * max(1, np.abs(its).max()))
        same = found['masks'][number] == sample.pred_sem_seg.data[0].numpy()
        assert found['masks'].dtype == np.uint8 and same.mean() >= 0.999
    return about


def run_alone(path: Path, folder: Path) -> None:
    """The script of docs/export.md, where neither torch nor this package can be imported."""
    text = (Path(__file__).parents[3] / 'docs/run_onnx.py').read_text()
    absent = "import sys\nsys.modules.update(dict.fromkeys(('torch', 'mmsam_peft', 'PIL')))\n"
    (folder / 'alone.py').write_text(
        f'{absent}exec(compile({text!r}, "run_onnx.py", "exec"))\nassert not sys.modules["torch"]'
    )
    np.save(folder / 'image.npy', picture(50, 70))
    given = [folder / 'alone.py', path, folder / 'image.npy', folder / 'mask.npy']
    done = subprocess.run([sys.executable, *given], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wanted = run(path, picture(50, 70)[None])[0]['masks'][0]
    assert (np.load(folder / 'mask.npy') == wanted).all() and wanted.shape == (50, 70)
    assert 'masks uint8 (50, 70)' in done.stdout and 'disc: ' in done.stdout


@pytest.mark.slow
def test_conv_lora_with_its_experts(trained, tmp_path):
    """As a file of two batch sizes and two sizes of images; and what the file says of itself."""
    model = trained(MODELS['ConvLoRA']())
    with torch.no_grad():
        logits = model.test_step(
            dict(inputs=[torch.randint(255, (3, 64, 64), dtype=torch.uint8)], data_samples=None)
        )[0].seg_logits.data
    model.decode_head.threshold = logits.median().item()
    save_adapter(model, tmp_path / 'adapter.safetensors', model.dataset_meta)
    made = export_model(model, tmp_path / 'model.onnx', weights=tmp_path / 'adapter.safetensors')
    masks = run(tmp_path / 'model.onnx', picture(80, 80)[None])[0]['masks']
    assert 0.05 < masks.mean() < 0.95, 'something to find, and something to miss'
    assert made.check['difference'] < 1e-4 and made.check['same'] > 0.999
    check_answers(tmp_path / 'model.onnx', model, 1, (48, 90))
    about = check_answers(tmp_path / 'model.onnx', model, 5, (100, 64))
    assert about == json.loads(json.dumps(made.about))
    assert (about['kind'], about['classes']) == ('binary', ['background', 'disc'])
    assert about['palette'] == [[0, 0, 0], [0, 255, 0]]
    assert about['threshold'] == pytest.approx(model.decode_head.threshold)
    steps = about['preprocessing']
    assert steps['size'] == [64, 64] and steps['mean'] == [128] * 3 and steps['std'] == [64] * 3
    assert steps['inside'] and steps['resize'] == 'inside' and steps['channels'] == 'RGB'
    header = read_header(tmp_path / 'adapter.safetensors')
    assert about['adapter']['sha256'] == header['sha256'] and not about['adapter']['merged']
    run_alone(tmp_path / 'model.onnx', tmp_path)
    content = (tmp_path / 'model.onnx').read_bytes()
    assert str(tmp_path).encode() not in content and b'site-packages' not in content
    assert sorted(path.name for path in tmp_path.glob('model*')) == ['model.onnx']


@pytest.mark.slow
def test_images_in_proportion_and_one_task(trained, tmp_path, monkeypatch):
    """TA-LoRA, merged for a task; what is padded takes no part. Weights are in a file beside it, as
    of large models, and the file can be moved."""
    model = trained(several_tasks('TALoRA'))
    monkeypatch.setattr(files, 'LARGEST', 1000)
    (tmp_path / 'seg.onnx.0123abcd.data').write_bytes(b'of an earlier export')
    made = export_model(model, tmp_path / 'seg.onnx', task='seg')
    (weights,) = tmp_path.glob('seg.onnx.*')
    assert made.bytes == weights.stat().st_size + (tmp_path / 'seg.onnx').stat().st_size
    assert made.about['adapter'] is None and list(made.about['tasks']) == ['seg']
    for size in ((48, 90), (100, 64)):
        check_answers(tmp_path / 'seg.onnx', model, 2, size)


@pytest.mark.slow
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
def test_every_kind_of_model(trained, tmp_path, name, monkeypatch):
    monkeypatch.setattr(files, 'LEAST', 1000)
    monkeypatch.setattr(files, 'LARGEST', 1000 if name == 'LoRA, classes' else files.LARGEST)
    model = trained({**MODELS[name](), 'model.decode_head.depth': 1})
    made = export_model(model, tmp_path / 'model.onnx', int8=name == 'LoRA, classes')
    if made.about['int8']:
        assert made.check['difference'] < 1e-3 < made.check8['difference'] < 1
        assert run(tmp_path / 'model.onnx', picture(48, 90)[None])[1] == json.loads(
            json.dumps(made.about)
        )
        return
    about = check_answers(tmp_path / 'model.onnx', model, 2, (48, 90))
    if about['kind'] == 'tasks':
        assert list(about['tasks']) == [task['name'] for task in TASKS]


def write_nothing(network, text, folder, name) -> None:
    (folder / name).write_text(text)


def test_a_file_that_answers_something_else_is_not_left(trained, tmp_path, monkeypatch):
    model = trained()
    (tmp_path / 'model.onnx').write_text('as it was')
    monkeypatch.setattr('mmsam_peft.apis.export.write_onnx', write_nothing)
    network = network_of(model, None, 'inside', None)[0]

    def answers_like(change):
        def answers(path, images):
            with torch.no_grad():
                masks, logits = (one.numpy() for one in network(images))
            return change(masks, logits)

        return answers

    for change in (
        lambda masks, logits: [masks, logits + 0.01],
        lambda masks, logits: [masks, logits * np.nan],
        lambda masks, logits: [1 - masks, logits],
    ):
        monkeypatch.setattr(check, 'answers', answers_like(change))
        with pytest.raises(ValueError, match='does not answer as the model does'):
            export_model(model, tmp_path / 'model.onnx')
    monkeypatch.setattr(check, 'answers', answers_like(lambda masks, logits: [masks, logits]))
    assert (tmp_path / 'model.onnx').read_text() == 'as it was'
    assert export_model(model, tmp_path / 'model.onnx').check['own'] > 0.99
    assert json.loads((tmp_path / 'model.onnx').read_text())['kind'] == 'binary'
    assert not list(tmp_path.glob('*unfinished*'))


def test_what_cannot_be_exported(trained, tmp_path, monkeypatch):
    """Says what was found and what to do, before anything is traced."""
    plain, out = trained(), tmp_path / 'model.onnx'
    resize = dict(type='Resize', scale=(64, 64))

    def refuses(words, model=plain, out=out, **settings):
        with pytest.raises(ValueError, match=words):
            export_model(model, out, **settings)

    refuses('end in .onnx or .pt2', out=tmp_path / 'model.pth')
    (tmp_path / 'folder.onnx').mkdir()
    refuses('is a folder', out=tmp_path / 'folder.onnx')
    (tmp_path / 'folder.onnx').rmdir()
    refuses('8 bits are for .onnx', out=tmp_path / 'model.pt2', int8=True)
    refuses("preprocessing='within'", preprocessing='within')
    refuses('no such task; give none: the model has one task', task='seg')
    refuses('made from', out=tmp_path / 'model.onnx', weights=tmp_path / 'model.onnx')

    def with_steps(*steps, model=plain):
        packed = [dict(type='LoadImageFromFile'), *steps, dict(type='PackSegInputs')]
        model.cfg.test_pipeline = packed

    for steps, words in (
        ([dict(resize, keep_ratio=True)], 'keeps the proportions .* --resize outside'),
        ([], 'has 0 that resize'),
        ([resize, dict(type='PhotoMetricDistortion')], 'the step PhotoMetricDistortion'),
        ([dict(resize, antialias=False)], 'without antialiasing'),
        ([dict(type='Resize', scale_factor=2.0)], 'resizes by a factor'),
    ):
        with_steps(*steps)
        refuses(words)
    with_steps(resize)
    slides = dict(mode='slide', crop_size=(64, 64), stride=(32, 32))
    monkeypatch.setattr(plain, 'test_cfg', slides)
    refuses('slides windows of 64 x 64 pixels', resize='inside')
    assert network_of(plain, None, 'inside', None)[0].resize is False
    refuses('give one of seg, normals, saliency', trained(several_tasks('LoRA')), task='depth')
    monkeypatch.setitem(sys.modules, 'onnx_ir', None)
    with pytest.raises(ImportError, match=r"pip install -e '\.\[export\]'"):
        export_model(plain, out)
    assert not list(tmp_path.glob('*.onnx*'))
