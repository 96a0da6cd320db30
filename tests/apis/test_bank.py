from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import load_file

from mmsam_peft.apis import AdapterBank, init_model, save_adapter
from mmsam_peft.registry import PEFT

QUERIES = {
    'model.decode_head.num_classes': 3,
    'model.decode_head.num_queries': 4,
    'model.decode_head.loss_decode': dict(type='SetPredictionLoss'),
}


def method(name: str, **settings) -> dict:
    return {'model.backbone.peft': dict(type=name, _delete_=True, **settings)}


@pytest.fixture
def adapter(build, tiny, tmp_path):
    """``adapter(name, seed, options)``: the path of an adapter of the tiny model, and its
    config."""

    def adapter(name: str, seed: int = 0, options: dict | None = None):
        model, path = build(options), tmp_path / f'{name}.safetensors'
        torch.manual_seed(seed)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += 0.1 * torch.randn_like(parameter)
        save_adapter(model, path)
        return path, tiny(options)

    return adapter


def memory(*models) -> int:
    """Bytes of the models' parameters; what they share counts once."""
    storages = {
        p.untyped_storage().data_ptr(): p.untyped_storage().nbytes()
        for model in models
        for p in model.parameters()
    }
    return sum(storages.values())


@pytest.mark.parametrize('peft', sorted(PEFT.module_dict))
def test_each_predicts_what_a_model_of_its_own_does(adapter, run, peft):
    """Of any method, beside LoRA's, whichever was used before."""
    (first, config), (second, other) = adapter('a'), adapter('b', 1, method(peft))
    bank = AdapterBank(config, dict(a=first), 'cpu')
    bank.add('b', second, other)
    expected = dict(
        a=run(init_model(config, first, 'cpu')), b=run(init_model(other, second, 'cpu'))
    )
    assert not expected['a'].equal(expected['b'])
    for name in 'abba':
        assert run(bank[name]).equal(expected[name]), name
    assert list(bank) == ['a', 'b'] and len(bank) == 2


def test_other_heads_and_image_sizes(adapter, run):
    (first, config), (second, classes), (third, large) = (
        adapter('a'),
        adapter('b', 1, QUERIES),
        adapter('c', 2, {'image_size': 96}),
    )
    bank = AdapterBank(config, dict(a=first), 'cpu')
    bank.add('b', second, classes)
    bank.add('c', third, large)
    for name, path, own in (('a', first, config), ('b', second, classes), ('c', third, large)):
        assert run(bank[name]).equal(run(init_model(own, path, 'cpu')))
    assert run(bank['b']).shape[1] == 3
    tables = [bank[name].backbone.pos_embed for name in 'abc']
    assert tables[0].data_ptr() == tables[1].data_ptr() != tables[2].data_ptr()


def test_the_base_is_in_memory_once(adapter):
    (first, config), (second, _) = adapter('a'), adapter('b', 1)
    bank = AdapterBank(config, dict(a=first, b=second), 'cpu')
    alone = memory(init_model(config, first, 'cpu'))
    assert memory(*bank.values()) == alone + sum(
        bank['b'].get_parameter(name).nbytes
        for name in load_file(second)
        if name in dict(bank['b'].named_parameters())
    )
    for name, parameter in bank['a'].named_parameters():
        other = bank['b'].get_parameter(name)
        assert (parameter.data_ptr() == other.data_ptr()) == (
            name.startswith('backbone.') and 'lora' not in name
        ), name


def test_merging(adapter, run):
    """Folded weights are the adapter's own; the base below them stays as it is for the others."""
    paths = {name: adapter(name, seed)[0] for seed, name in enumerate('abc')}
    config = adapter('a')[1]
    bank = AdapterBank(config, paths, 'cpu', merge=True)
    for name in 'abcab':
        assert run(bank[name]).equal(run(init_model(config, paths[name], 'cpu', merge=True)))
    qkv = {bank[name].backbone.blocks[0].attn.qkv.weight.data_ptr() for name in 'abc'}
    mlp = {bank[name].backbone.blocks[0].mlp.lin1.weight.data_ptr() for name in 'abc'}
    assert (len(qkv), len(mlp)) == (3, 1)
    path, conv = adapter('d', 3, method('ConvLoRA'))
    with pytest.raises(ValueError, match='ConvLoRA merges only in part'):
        bank.add('d', path, conv)
    assert list(bank) == ['a', 'b', 'c']


def test_several_at_once(adapter, run):
    paths = {name: adapter(name, seed)[0] for seed, name in enumerate('abc')}
    bank = AdapterBank(adapter('a')[1], paths, 'cpu')
    expected = {name: run(model) for name, model in bank.items()}
    with ThreadPoolExecutor(3) as pool:
        for name, result in zip(
            'abcabcabc', pool.map(lambda name: run(bank[name]), 'abcabcabc'), strict=True
        ):
            assert result.equal(expected[name])


def test_a_failed_addition_changes_nothing(adapter, run, tiny, tmp_path):
    path, config = adapter('a')
    bank = AdapterBank(config, dict(a=path), 'cpu')
    expected, base = run(bank['a']), dict(bank.base)
    other, foreign = adapter('other', 1, {'model.checkpoint': None})
    plain = tiny()
    plain.model.type = 'EncoderDecoder'
    del plain.model['checkpoint']
    for add, error, message in (
        (lambda: bank.add('a', other), ValueError, 'another base'),
        (lambda: bank.add('b', other, foreign), ValueError, 'another base'),
        (
            lambda: bank.add('b', path, tiny({'model.backbone.peft.rank': 5})),
            ValueError,
            'another peft',
        ),
        (
            lambda: bank.add('b', None, plain),
            ValueError,
            'b is a EncoderDecoder: a bank holds adapted encoders',
        ),
        (lambda: bank.add('b', tmp_path / 'absent.safetensors'), FileNotFoundError, 'absent'),
        (lambda: bank['b'], KeyError, "no adapter 'b'; the bank has a"),
    ):
        with pytest.raises(error, match=message):
            add()
    assert (
        list(bank) == ['a'] and bank.base.keys() == base.keys() and run(bank['a']).equal(expected)
    )


def test_an_adapter_of_the_same_name_takes_its_place(adapter, run):
    (first, config), (second, _) = adapter('a'), adapter('b', 1)
    bank = AdapterBank(config, dict(a=first), 'cpu')
    bank.add('a', second)
    assert len(bank) == 1 and run(bank['a']).equal(run(init_model(config, second, 'cpu')))


def test_switching_makes_nothing(adapter):
    """It is a look-up."""
    path, config = adapter('a')
    bank = AdapterBank(config, dict(a=path, b=path), 'cpu')
    models = dict(bank)
    with torch.profiler.profile() as seen:
        assert all(bank[name] is models[name] for name in 'abab')
    assert models['a'] is not models['b'] and not seen.key_averages()
