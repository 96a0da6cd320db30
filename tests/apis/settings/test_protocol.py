"""A paper's conventions reach losses, metrics, pipelines and batches, by one name; they are refused
where the paper has no such thing."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmcv.transforms import Compose
from PIL import Image

from mmsam_peft.apis.configs import read_config
from mmsam_peft.apis.launch import load_config
from mmsam_peft.apis.settings import check_settings
from mmsam_peft.apis.testing import prepare_test
from mmsam_peft.engine.run_facts import settings

ROOT = Path(__file__).parents[3]
CONFIGS = ROOT / 'configs'
CONV, TA = 'conv_lora_2024', 'ta_lora_2024'


def test_conv_lora_of_a_binary_set():
    cfg = load_config(CONFIGS / 'convlora/kvasir.py', {'protocol': CONV})
    assert cfg.model.decode_head.loss_decode == dict(type='StructureLoss', bce='plain')
    assert cfg.val_evaluator == cfg.test_evaluator
    assert cfg.test_evaluator == [
        dict(type='SaliencyMetric', normalize='minmax', wf_beta2=0.3),
        dict(type='BinaryMetric', empty='zero', ber_threshold=125 / 255),
    ]
    assert cfg.train_dataloader.batch_size == 1 and cfg.optim_wrapper.accumulative_counts == 4
    step = dict(type='ScoreAt', size=(1024, 1024))
    for part in ('val', 'test'):
        assert [one.type for one in cfg[f'{part}_dataloader'].dataset.pipeline] == [
            'LoadImageFromFile',
            'Resize',
            'LoadMask',
            'ScoreAt',
            'PackSegInputs',
        ] and cfg[f'{part}_dataloader'].dataset.pipeline[3] == step
    assert step not in cfg.test_pipeline and step not in cfg.train_dataloader.dataset.pipeline
    assert Path(cfg.work_dir).name.startswith('kvasir_protocol=conv-lora-2024')
    assert settings(cfg)['protocol'] == CONV


def test_conv_lora_of_several_classes():
    cfg = load_config(CONFIGS / 'convlora/trans10k.py', {'protocol': CONV})
    loss = cfg.model.decode_head.loss_decode
    assert (loss.class_weight, loss.mask_weight, loss.dice_weight) == (1, 1, 1)
    assert cfg.model.backbone.peft.balance_weight == 1.0  # the recipe has 2
    plain = read_config(CONFIGS / 'convlora/trans10k.py')
    assert plain.model.backbone.peft.balance_weight == 2.0 and 'protocol' not in plain


def test_ta_lora():
    cfg = load_config(CONFIGS / 'talora/nyuv2.py', {'protocol': TA})
    prepared = cfg.model.data_preprocessor
    assert prepared.mean == [0, 0, 0] and prepared.std == [255, 255, 255]
    by = {task.name: task.get('protocol', 'pooled') for task in cfg.test_evaluator.tasks}
    assert by == dict(seg='pooled', depth='per_image', normals='per_image')
    assert by == {task.name: task.get('protocol', 'pooled') for task in cfg.val_evaluator.tasks}
    assert all('protocol' not in task for task in cfg.model.tasks)


def test_what_contradicts_it_is_refused(tmp_path):
    options = {'protocol': CONV, 'optim_wrapper.accumulative_counts': 2}
    with pytest.raises(ValueError, match='optim_wrapper.accumulative_counts: 2, not 4'):
        check_settings(load_config(CONFIGS / 'lora/kvasir.py', options))
    with pytest.raises(ValueError, match="protocol='conv_lora_2042': expected one of conv_lora_2"):
        load_config(CONFIGS / 'lora/kvasir.py', {'protocol': 'conv_lora_2042'})
    with pytest.raises(ValueError, match='a EncoderDecoder with SegformerHead. Leave protocol out'):
        load_config(CONFIGS / 'segformer/kvasir_b0.py', {'protocol': CONV})
    with pytest.raises(ValueError, match='a MultiTaskSegmentor with MSAMHead. Use ta_lora_2024'):
        load_config(CONFIGS / 'talora/nyuv2.py', {'protocol': CONV})
    path = tmp_path / 'mine.py'
    path.write_text(f"_base_ = '{CONFIGS}/lora/kvasir.py'\nprotocol = '{CONV}'\n")
    assert 'protocol=' in load_config(path).work_dir  # named in the file, and seen
    with pytest.raises(ValueError, match='train_dataloader.batch_size: 8, not 1'):
        check_settings(load_config(path, {'batch_size': 8}))


@pytest.mark.parametrize('tta', [False, True])
def test_a_test_has_it(tta):
    cfg = load_config(CONFIGS / 'lora/kvasir.py', {'protocol': CONV})
    prepare_test(cfg, 'weights.pth', tta=tta)
    check_settings(cfg)
    steps = cfg.test_dataloader.dataset.pipeline
    if tta:
        steps = [one for group in steps[1].transforms for one in group]
    assert [one.type for one in steps if one.type == 'ScoreAt'] == ['ScoreAt']


def test_scores_are_those_at_the_size_of_the_protocol(build, tmp_path):
    """Logits and mask at (40, 56), from the network's own output and the mask's centres."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (90, 70, 3)).astype(np.uint8)).save(tmp_path / 'a.png')
    mask = np.kron(rng.integers(0, 2, (9, 7)), np.ones((10, 10), int)).astype(np.uint8)
    Image.fromarray(mask).save(tmp_path / 'mask.png')
    steps = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(64, 64)),
        dict(type='LoadMask'),
        dict(type='ScoreAt', size=(40, 56)),
        dict(type='PackSegInputs'),
    ]
    model = build(trained=True)
    paths = dict(img_path=str(tmp_path / 'a.png'), seg_map_path=str(tmp_path / 'mask.png'))
    one = Compose(steps)(dict(paths))
    batch = dict(inputs=[one['inputs']], data_samples=[one['data_samples']])
    with torch.no_grad():
        found = model.test_step(batch)[0]
        inputs = model.data_preprocessor(batch)['inputs']
        logits = model.encode_decode(inputs, [dict(img_shape=(64, 64))])
    logits = F.interpolate(logits, (64, 64), mode='bilinear')
    expected = F.interpolate(logits, (40, 56), mode='bilinear').sigmoid()[0]
    torch.testing.assert_close(found.seg_logits.data, expected, atol=1e-5, rtol=1e-5)
    rows, columns = ((np.arange(n) + 0.5) * old / n for n, old in ((40, 90), (56, 70)))
    truth = mask[rows.astype(int)][:, columns.astype(int)]
    assert np.array_equal(found.gt_sem_seg.data[0].numpy(), truth)
