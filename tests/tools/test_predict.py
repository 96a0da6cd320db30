import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from mmsam_peft.apis import save_adapter


def test_folder_with_a_broken_image(call, adapter, config, data, tmp_path, capsys):
    images = shutil.copytree(data / 'img_dir/test', tmp_path / 'images')
    (images / 'deeper').mkdir()
    (images / '2.png').rename(images / 'deeper/2.png')
    (images / '1.png').write_bytes((images / '1.png').read_bytes()[:1000])
    with pytest.raises(SystemExit) as end:
        call('predict.py', config, adapter, images, '--out-dir', tmp_path / 'out')
    said = capsys.readouterr()
    assert end.value.code == 1 and '2 of 3 images' in said.out
    assert 'not predicted' in said.err and '1.png' in said.err
    for kind in ('masks', 'overlays'):
        folder = tmp_path / 'out' / kind
        assert {str(path.relative_to(folder)) for path in folder.rglob('*.png')} == {
            '0.png',
            'deeper/2.png',
        }
    mask = Image.open(tmp_path / 'out/masks/0.png')
    assert (
        mask.size == (64, 64)
        and set(np.unique(mask)) <= {0, 1}
        and mask.getpalette()[3:6] == [0, 255, 0]
    )


def test_no_images(call, adapter, config, tmp_path):
    with pytest.raises(FileNotFoundError, match='No image at'):
        call('predict.py', config, adapter, tmp_path, '--out-dir', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_options(call, lora, data, tmp_path, capsys):
    """Batches, bfloat16 and merging change pixels on edges at most."""
    images, masks = data / 'img_dir/test', {}
    for name, options in dict(
        plain=[], batches=['--batch-size', 2], amp=['--amp'], merged=['--merge']
    ).items():
        with pytest.raises(SystemExit) as end:
            call(
                'predict.py',
                *lora,
                images,
                '--out-dir',
                tmp_path / name,
                '--device',
                'cpu',
                *options,
            )
        assert not end.value.code and '3 of 3 images' in capsys.readouterr().out
        masks[name] = np.stack(
            [np.array(Image.open(tmp_path / name / 'masks' / f'{i}.png')) for i in range(3)]
        )
    assert 0 < masks['plain'].mean() < 1
    for name, least in dict(batches=0.999, amp=0.95, merged=0.999).items():
        assert (masks[name] == masks['plain']).mean() > least, name


def test_compile(call, lora, data, tmp_path, monkeypatch):
    """Asks for it; what torch.compile does takes too long for here."""
    compiled = []
    monkeypatch.setattr(
        torch.nn.Module, 'compile', lambda module: compiled.append(type(module).__name__)
    )
    with pytest.raises(SystemExit):
        call(
            'predict.py',
            *lora,
            data / 'img_dir/test/0.png',
            '--out-dir',
            tmp_path / 'out',
            '--compile',
        )
    assert compiled == ['Block', 'Block']


def test_what_does_not_merge(call, adapter, config, data, capsys):
    image = data / 'img_dir/test/0.png'
    command = 'predict.py', config, adapter, image
    with pytest.raises(ValueError, match='ConvLoRA merges only in part'):
        call(*command, '--merge')
    with pytest.raises(SystemExit):
        call(*command, '--task', 'depth')
    assert '--task goes with --merge' in capsys.readouterr().err


def test_prompts(call, build, tiny, tmp_path, capsys):
    """Points, boxes and a grid; prompts are switched on for an adapter that was trained without."""
    tiny()
    whole = build({'model.decode_head.prompts': True})
    state = {key: value for key, value in whole.state_dict().items() if '.lora_' not in key}
    torch.save(state, tmp_path / 'base.pth')  # a whole SAM, in place of an encoder alone
    save_adapter(build(trained=True), tmp_path / 'adapter.safetensors', config=tiny())
    (tmp_path / 'in').mkdir()
    for name in 'ab':
        pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / 'in' / f'{name}.png')
    (tmp_path / 'points.csv').write_text('image,x,y,label,object\na.png,3,4,1,1\na.png,9,9,0,1\n')
    (tmp_path / 'boxes.csv').write_text('image,x0,y0,x1,y1\na.png,3,4,20,30\nb.png,90,2,99,9\n')
    given = tmp_path / 'adapter.safetensors', tmp_path / 'in', '--device', 'cpu', '--out-dir'
    kinds = {
        'points': ['--points', tmp_path / 'points.csv'],
        'boxes': ['--boxes', tmp_path / 'boxes.csv'],
        'everything': ['--everything', 2],
        'less': ['--points', tmp_path / 'points.csv', '--update', 0.25],
    }
    for kind, options in kinds.items():
        with pytest.raises(SystemExit) as end:
            call('predict.py', *given, tmp_path / kind, *options)
        said = capsys.readouterr()
        assert bool(end.value.code) == (kind == 'boxes')
        content = json.loads((tmp_path / kind / 'instances.json').read_text())
        done = ['a.png'] if kind != 'everything' else ['a.png', 'b.png']
        assert [image['file_name'] for image in content['images']] == done
        assert kind == 'everything' or len(content['annotations']) == 1
        for name in done:
            assert Image.open(tmp_path / kind / 'overlays' / name).size == (50, 40)
            assert Image.open(tmp_path / kind / 'masks' / name).size == (50, 40)
        assert kind != 'boxes' or 'b.png: ValueError: got the box x0=90' in said.err
    for wrong, message in (
        (['--points', 'a.csv', '--boxes', 'b.csv'], 'not allowed with argument'),
        (['--everything', '--threshold', '0.3'], '--threshold does not go with --points'),
        (['--everything', '0'], '--everything 0: at least 1 point'),
        (['--everything', '--update', '25'], '--update 25: a share from 0 to 1'),
        (['--update', '0.25'], '--update goes with --points'),
    ):
        with pytest.raises(SystemExit):
            call('predict.py', *given, tmp_path, *wrong)
        assert message in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match='missing.csv'):
        call('predict.py', *given, tmp_path, '--points', 'missing.csv')
