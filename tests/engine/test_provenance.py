"""What an adapter says of its training."""

import json
import sys
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from mmsam_peft.adapters.header import ADAPTER
from mmsam_peft.adapters.recipe import without_places
from mmsam_peft.apis import inference_model, init_model, read_header
from mmsam_peft.version import __version__


class Scripted(Hook):
    """Scores every validation as told."""

    def __init__(self, *scores: float) -> None:
        self.scores = scores

    def before_train(self, runner) -> None:
        scores = iter(self.scores)
        runner.val_loop.evaluator.evaluate = lambda size: dict(Dice=next(scores), IoU=1.0)


def test_scores_data_and_provenance(make_runner, root, monkeypatch):
    """Through a training that is resumed; nothing says where it ran."""
    command = ['tools/train.py', f'{root}/jane/own.py', f'data_root={root}/data', '--resume']
    monkeypatch.setattr(sys, 'argv', command)
    runner = make_runner({'train_cfg.max_epochs': 2})
    runner.register_hook(Scripted(20.0, 30.0), 'LOWEST')
    runner.train()
    runner = make_runner({'train_cfg.max_epochs': 3, 'resume': True})
    runner.register_hook(Scripted(10.0), 'LOWEST')
    runner.train()
    work = root / 'work'
    best, last = (read_header(work / f'adapter_{name}.safetensors') for name in ('best', 'last'))
    metrics = dict(Dice=30.0, IoU=1.0)
    assert best['scores'] == dict(metrics=metrics, epoch=2, iter=6, of_these_weights=True)
    assert last['scores'] == dict(metrics=metrics, epoch=2, iter=6, of_these_weights=False)
    assert best['data'] == dict(images=dict(train=6, val=2))
    made = last['provenance']
    assert made['packages']['mmsam_peft'] == __version__
    assert made['packages']['torch'] and made['packages']['onedl-mmsegmentation']
    assert made['seed'] == 0 and len(made['settings_sha256']) == 64
    assert made['command'] == 'tools/train.py own.py data_root=data --resume'
    content = torch.load(next(work.glob('best_Dice_*.pth')), weights_only=True)
    pth = json.loads(content['meta'][ADAPTER])
    assert pth['scores'] == best['scores'] and pth['recipe'] == best['recipe']
    text = json.dumps([best, last, pth])
    assert str(root) not in text and root.name not in text and 'jane' not in text
    assert len(text) < 100_000

    image = str(next((root / 'img_dir/val').iterdir()))
    for name in ('best', 'last'):
        path = work / f'adapter_{name}.safetensors'
        (work / 'base.pth').write_bytes((root / 'base.pth').read_bytes())
        pair = [
            inference_model(model, image).seg_logits.data
            for model in (
                init_model(path, device='cpu'),
                init_model(runner.cfg, path, 'cpu'),
            )
        ]
        assert pair[0].equal(pair[1])


@pytest.mark.parametrize(
    ('text', 'found'),
    [
        ('/home/jane/c.py', 'c.py'),
        ('model.checkpoint=/home/jane/sam.pth', 'model.checkpoint=sam.pth'),
        ('~jane/c.py', 'c.py'),
        ('~/data/', 'data'),
        ('../jane/c.py', 'c.py'),
        (r'C:\Users\jane\c.py', 'c.py'),
        (r'C:\Users\jane', '...'),
        ('--work-dir=/mnt/jane doe/runs', '--work-dir=runs'),
        ("x=['/a/b','/c/d']", "x=['b','d']"),
        ('http://jane:secret@example.org/x.pth', 'http:x.pth'),
        ('configs/lora/kvasir.py', 'configs/lora/kvasir.py'),
        ('lr=1e-3', 'lr=1e-3'),
        ("its backbone is 'Own' of my.module", "its backbone is 'Own' of my.module"),
    ],
)
def test_without_places(text, found):
    assert without_places(text) == found
    assert Path(found).name
