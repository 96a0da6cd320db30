"""Small hosts of the methods, one file each in hosts/, and which methods go into which."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from mmsam_peft.peft import anatomy_of
from mmsam_peft.registry import PEFT


class Host:
    """A file of hosts/, which has ``build(peft, **settings)``, ``inputs(generator, batch)`` and
    ``run(model, inputs)``; ``POOLS`` where it takes maxima."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.run = module, module.run
        plain = self.build(None)
        self.anatomy, self.names = anatomy_of(plain), plain.state_dict().keys()
        self.depth = len(self.anatomy.blocks)
        self.pools = getattr(module, 'POOLS', False)

    def build(self, peft: dict | None, seed: int = 0, **settings) -> nn.Module:
        torch.manual_seed(seed)
        return self.module.build(peft, **settings)

    def inputs(self, seed: int = 0, batch: int = 2) -> tuple[Tensor, ...]:
        return self.module.inputs(torch.Generator().manual_seed(seed), batch)


def load_host(path: Path) -> Host:
    name = (
        f'peft_host_{path.stem}'  # in sys.modules, where pickle looks for the classes of the file
    )
    spec = importlib.util.spec_from_file_location(name, path)
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    return Host(sys.modules[name])


HOSTS = {
    path.stem: load_host(path) for path in sorted(Path(__file__).with_name('hosts').glob('*.py'))
}
ARCH = HOSTS['encoder'].module.ARCH
PAIRS = [(name, host) for name in sorted(PEFT.module_dict) for host in HOSTS]
CASES = [(name, host) for name, host in PAIRS if PEFT.get(name).needs <= HOSTS[host].anatomy.offers]


@pytest.fixture(params=CASES, ids='-'.join)
def case(request) -> tuple[str, Host]:
    """Every registered method in every host it goes into."""
    name, host = request.param
    return name, HOSTS[host]


@pytest.fixture(params=[case for case in CASES if case[1] in ('encoder', 'decoder')], ids='-'.join)
def own(request) -> tuple[str, Host]:
    """Every registered method in SAM's encoder and, where it goes there, in its decoder."""
    name, host = request.param
    return name, HOSTS[host]
