import pytest
from mmengine.config import Config

from mmsam_peft.apis.launch import load_config
from mmsam_peft.apis.pipelines import pipelines, type_name
from mmsam_peft.apis.settings import apply_settings, check_settings

BASE = "_base_ = 'mmsam_peft::_base_/sam/custom.py'\nimage_size = 64\n"


@pytest.fixture
def read(tmp_path):
    """The config of own data with further lines, as a tool reads it."""

    def load(lines: str) -> Config:
        path = tmp_path / 'config.py'
        path.write_text(BASE + lines)
        return load_config(str(path))

    return load


@pytest.mark.parametrize('scale', [1.0, 0.5])
def test_reaches_every_pipeline_and_the_model(read, scale):
    cfg = read(f'windows = {scale}')
    check_settings(cfg)
    assert cfg.model.test_cfg == dict(mode='slide', crop_size=(64, 64), stride=(42, 42))
    for name, pipeline in pipelines(cfg):
        steps = [one for one in pipeline if type_name(one) != 'TestTimeAug']
        steps += [one for step in pipeline for group in step.get('transforms', ()) for one in group]
        factors = [one['scale_factor'] for one in steps if type_name(one) == 'Resize']
        crops = [one['crop_size'] for one in steps if type_name(one) == 'RandomCrop']
        assert factors == ([] if scale == 1 else [scale])
        assert crops == ([(64, 64)] if name.startswith('train') else [])


def test_twice_is_once_and_the_size_follows(read):
    cfg = read('windows = 0.5')
    before = cfg.to_dict()
    apply_settings(cfg)
    assert cfg.to_dict() == before
    apply_settings(cfg, dict(image_size=96))
    check_settings(cfg)
    assert cfg.model.test_cfg.crop_size == cfg.train_pipeline[3].crop_size == (96, 96)


def test_faults_are_named(read):
    with pytest.raises(ValueError, match='windows=True: expected the scale'):
        read('windows = True')
    cfg = read('windows = 1.0')
    cfg.model.test_cfg.mode = 'whole'
    with pytest.raises(ValueError, match=r'model\.test_cfg\.mode: whole'):
        check_settings(cfg)
