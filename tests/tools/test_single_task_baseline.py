"""From single-task results to Delta_b of a multi-task model, on generated images."""

import json
import re
from pathlib import Path

import pytest

from mmsam_peft.apis import init_model, save_adapter
from mmsam_peft.apis.launch import load_config

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / 'configs'
TOOL = 'analysis_tools/single_task_baseline.py'


@pytest.fixture(scope='module')
def test(tmp_path_factory, start):
    """``test('talora/quickstart_multitask', task, options)``: tests an untrained model on two
    images; the log and its JSON file."""
    data = tmp_path_factory.mktemp('data')

    def run(name: str, task: str | None, *options) -> tuple[str, Path]:
        config, place = CONFIGS / f'{name}.py', tmp_path_factory.mktemp('test')
        model = init_model(load_config(str(config), task=task), device='cpu')
        save_adapter(model, place / 'adapter.safetensors')
        alone = ['--task', task] if task else []
        log = start(
            'test.py',
            config,
            place / 'adapter.safetensors',
            '--work-dir',
            place / 'work',
            *alone,
            '--cfg-options',
            f'test_dataloader.dataset.data_root={data}',
            'test_dataloader.dataset.num_images=2',
            *options,
        ).stdout
        (written,) = place.glob('work/*/*.json')
        return log, written

    return run


def scores(log: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r'(\w+/[\w.]+): (-?[\d.]+)', log)}


def test_delta_b_over_collected_results(test, call, tmp_path, capsys):
    """Depth alone is tested; the values of the other tasks are as compare_peft.py writes them."""
    log, depth = test('lora_stl/quickstart_multitask', 'depth')
    alone = scores(log)
    assert set(alone) == {
        f'depth/{metric}' for metric in ('AErr', 'RErr', 'RMSE', 'delta1', 'delta2', 'delta3')
    }
    others = dict(
        seg={'seg/mIoU': 5.0, 'seg/PixAcc': 0.0}, normals={'normals/mean': 50.0, 'normals/30': 10.0}
    )
    for task, values in others.items():
        (tmp_path / f'{task}.json').write_text(json.dumps(dict(method='TaskLoRA', scores=values)))
    config, out, files = (
        CONFIGS / 'talora/quickstart_multitask.py',
        tmp_path / 'new/stl.json',
        [depth],
    )
    files += [tmp_path / f'{task}.json' for task in others]

    with pytest.raises(
        ValueError, match='seg.json.* lacks normals/median normals/11.25 normals/22.5: add'
    ):
        call(TOOL, config, *files, '--out', out)
    assert not out.exists()
    call(
        TOOL,
        config,
        *files,
        '--out',
        out,
        '--metrics',
        'seg/mIoU',
        'depth/RErr',
        'depth/RMSE',
        'normals/mean',
    )
    baseline = json.loads(out.read_text())
    assert baseline == dict(
        seg=dict(mIoU=5.0),
        depth={
            metric: pytest.approx(alone[f'depth/{metric}'], abs=1e-4) for metric in ('RErr', 'RMSE')
        },
        normals=dict(mean=50.0),
    )
    shown = capsys.readouterr().out
    assert 'normals: mean 50.0000' in shown and f'test_evaluator.baseline={out}' in shown

    _, written = test('talora/quickstart_multitask', None, f'test_evaluator.baseline={out}')
    log = next(written.parent.glob('*.log')).read_text()
    assert f'Delta_b is against {out}, over seg mIoU; depth RErr, RMSE; normals mean.' in log
    found = json.loads(written.read_text())
    gains = dict(
        seg=found['seg/mIoU'] / 5 - 1,
        normals=1 - found['normals/mean'] / 50,
        depth=1
        - sum(found[f'depth/{name}'] / value for name, value in baseline['depth'].items()) / 2,
    )
    assert found['Delta_b/stl'] == pytest.approx(100 * sum(gains.values()) / 3)
    assert scores(log)['Delta_b/stl'] == pytest.approx(found['Delta_b/stl'], abs=1e-4)


def test_needs_a_config_of_several_tasks(call, tmp_path):
    with pytest.raises(
        ValueError, match='kvasir.py has a PEFTSegmentor, expected a config of several tasks'
    ):
        call(
            TOOL, CONFIGS / 'lora/kvasir.py', tmp_path / 'none.json', '--out', tmp_path / 'out.json'
        )
