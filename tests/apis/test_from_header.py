import pytest, torch
from mmsam_peft.apis import init_model
from mmsam_peft.adapters.match import save_adapter
def test_a(ready, tiny, run, tmp_path, build):
    m = init_model(*ready, 'cpu')
    save_adapter(m, tmp_path/'b.safetensors', m.dataset_meta)
    from mmsam_peft.apis import read_header
    print(read_header(tmp_path/'b.safetensors'))
    n = init_model(tmp_path/'b.safetensors', device='cpu')
    assert run(m).equal(run(n))
