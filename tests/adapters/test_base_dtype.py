"""Files of models whose base is stored in fewer bits: adapters belong to the weights' file, however
a model stores them; checkpoints give the same model again."""

import weakref

import pytest
import torch
from mmengine.runner import load_checkpoint

from mmsam_peft.adapters.file import read_header
from mmsam_peft.adapters.match import OtherBaseError, base_of, load_adapter, save_adapter
from mmsam_peft.apis import AdapterBank, init_model
from mmsam_peft.apis.merging import merged_model, merged_sam_state, verify_merge
from mmsam_peft.layers.storage import nf4

from .test_pth import META, write_pth

WAYS = ('bfloat16', 'int8', 'nf4')


def option(way: str) -> dict:
    return {'model.backbone.base_dtype': way}


@pytest.mark.parametrize('way', WAYS)
def test_adapters_go_both_ways(build, tiny, run, tmp_path, way):
    wide, model = build(trained=True), build(option(way), trained=True)
    assert base_of(model) == base_of(wide), 'the hash is that of the file'
    for name, one, other in (('wide', wide, model), ('stored', model, wide)):
        path = tmp_path / f'{name}.safetensors'
        save_adapter(one, path, META, tiny())
        load_adapter(other, path)
    header = read_header(tmp_path / 'stored.safetensors')
    assert header['base_dtype'] == header['recipe']['model']['backbone']['base_dtype'] == way
    assert 'base_dtype' not in read_header(tmp_path / 'wide.safetensors')
    bank = AdapterBank(None, dict(a=tmp_path / 'stored.safetensors'), 'cpu')
    bank.add('b', tmp_path / 'wide.safetensors')  # each with the base as it was trained on
    assert run(bank['a']).equal(run(model))
    torch.save(
        {k: v + 0.01 for k, v in torch.load(tmp_path / 'base.pth').items()}, tmp_path / 'base.pth'
    )
    for changes in ({}, option(way)):
        with pytest.raises(OtherBaseError, match='trained on another base'):
            load_adapter(build(changes), tmp_path / 'stored.safetensors')


@pytest.mark.parametrize('way', WAYS)
def test_checkpoints_give_the_same_model(build, tiny, run, tmp_path, way):
    model = build(option(way), trained=True)
    path = write_pth(model, tmp_path / 'epoch_1.pth')
    expected, base = run(model), base_of(model)
    assert run(init_model(tiny(option(way)), path, 'cpu')).equal(expected)
    wide = build()
    exact = wide.backbone.blocks[0].mlp.lin1.weight.clone()
    load_checkpoint(wide, path)
    assert wide.backbone.blocks[0].mlp.lin1.weight.equal(exact), 'rounded ones replaced them'
    (tmp_path / 'base.pth').unlink()  # it holds its base itself, rounded
    for changes in (option(way), {}):
        alone = init_model(tiny(changes), path, 'cpu')
        assert torch.allclose(run(alone), expected, atol=1e-5) and base_of(alone) == base
    content = torch.load(path)
    content['state_dict']['backbone.blocks.0.mlp.lin1.weight'][0, 0] += 1
    torch.save(content, path)
    with pytest.raises(ValueError, match='damaged: its frozen weights'):
        init_model(tiny(option(way)), path, 'cpu')


def test_a_wide_checkpoint_loads_into_a_stored_model(build, tiny, run, tmp_path):
    wide = build(trained=True)
    path = write_pth(wide, tmp_path / 'epoch_1.pth')
    at_hand = init_model(tiny(option('int8')), path, 'cpu')
    older = write_pth(wide, tmp_path / 'older.pth', header=False)
    (tmp_path / 'base.pth').unlink()
    for file in (path, older):
        alone = init_model(tiny(option('int8')), file, 'cpu')
        assert run(alone).equal(run(at_hand)) and base_of(alone) == base_of(at_hand)


def test_files_need_no_room_for_all_wide_weights(build, tiny, tmp_path, monkeypatch):
    """One at a time is widened to be hashed, and none to be replaced."""
    model, widen, wide, most = build(option('nf4'), trained=True), nf4.widen, [], [0]

    def counted(*args):
        found = widen(*args)
        wide.append(weakref.ref(found))
        most.append(sum(one() is not None for one in wide))
        return found

    monkeypatch.setattr(nf4, 'widen', counted)
    save_adapter(model, tmp_path / 'a.safetensors', META, tiny(option('nf4')))
    load_adapter(model, tmp_path / 'a.safetensors')
    model.base_loaded = False
    model.load_base()
    assert max(most) == 1


@pytest.mark.parametrize('way', WAYS)
def test_merged_models_and_files_are_float32(build, tiny, run, way, relative):
    model = build(option(way), trained=True)
    model.cfg, model.dataset_meta = tiny(option(way)), META
    plain = merged_model(model)
    assert {p.dtype for p in plain.parameters()} == {torch.float32}
    assert relative(run(plain), run(model)) < 1e-4
    state = merged_sam_state(model)
    assert {value.dtype for value in state.values()} == {torch.float32}
    assert verify_merge(model, state) < 1e-4
