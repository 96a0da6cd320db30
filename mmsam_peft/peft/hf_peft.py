"""The tuners of Hugging Face's package (Mangrulkar et al., "PEFT: State-of-the-art
Parameter-Efficient Fine-Tuning methods", 2022)."""

import copy
from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor, nn

from ..registry import PEFT
from .base import Mergeable, PEFTMethod
from .placement import Blocks, target_linears

ABLE = (
    'BEFT',
    'BOFT',
    'C3A',
    'DEFT',
    'FOURIERFT',
    'GLORA',
    'GRALORA',
    'HIRA',
    'HRA',
    'IA3',
    'LOHA',
    'LOKR',
    'LORA',
    'MISS',
    'OFT',
    'PEANUT',
    'PVERA',
    'RANDLORA',
    'ROAD',
    'SHIRA',
    'VERA',
    'WAVEFT',
)
"""The values of ``peft_type`` that work here."""
FROM_BASE = 'computes its start from the base weights, which are loaded later'
SHARES = (
    'shares trained parameters between layers, so that a state dict would hold them more than once'
)
NOT_LINEAR = 'adapts no linear layer'
UNABLE = {
    **dict.fromkeys(
        ('ADAMSS', 'DELORA', 'FROD', 'LN_TUNING', 'OSF', 'PSOFT', 'SUPERTUNING', 'TINYLORA'),
        FROM_BASE,
    ),
    **dict.fromkeys(('LILY', 'UNILORA', 'VBLORA'), SHARES),
    **dict.fromkeys(
        (
            'ADAPTION_PROMPT',
            'CARTRIDGE',
            'CPT',
            'MULTITASK_PROMPT_TUNING',
            'PREFIX_TUNING',
            'PROMPT_TUNING',
            'P_TUNING',
            'SHADOW',
            'TRAINABLE_TOKENS',
        ),
        NOT_LINEAR,
    ),
    'ADALORA': 'moves ranks between layers in a training loop of its own',
    'POLY': 'needs a task number beside every input',
    'XLORA': 'mixes adapters that were trained before',
}
"""The values that do not, and why."""
RANDOM_START, ROUNDS = ('C3A', 'FOURIERFT'), ('HRA',)
"""Those whose default start is no identity, and those that compute the base layer's output in
another way."""
DRAWS = ('PVERA',)
"""Those that draw for every token, so that equal ones give different outputs in training."""
PLACES = {
    'target_modules',
    'target_parameters',
    'exclude_modules',
    'feedforward_modules',
    'layers_to_transform',
    'layers_pattern',
    'layer_replication',
    'modules_to_save',
    'trainable_token_indices',
}
"""Settings of ``peft`` that ``targets`` and ``blocks`` stand for."""
LOHA = dict(peft_type='LOHA', r=4, alpha=8)


def stand_in(linear: nn.Linear) -> nn.Linear:
    """A layer of the same shape and dtype, on the CPU and without memory of its own. Its weights
    are NaN, and so becomes whatever is computed from them."""
    layer = nn.Linear(
        linear.in_features, linear.out_features, linear.bias is not None, device='meta'
    )
    nan = torch.tensor(torch.nan, dtype=linear.weight.dtype, device='cpu')
    for name, parameter in list(layer.named_parameters()):
        setattr(layer, name, nn.Parameter(nan.expand(parameter.shape)))
    return layer


class HFLinear(Mergeable, nn.Module):
    """A tuner's layer around ``linear``, whose parameters keep their names beside the tuner's:

        y = tuner(x)

    The three modules share their dicts of parameters; only this one is registered. The tuner sees
    tokens (1, N, C), as some take a map (B, H, W, C) for images. What the seeds of its config give
    again, buffers, stays out of state dicts.

    Raises:
        RuntimeError: The tuner computed something from its stand-in. One that decomposes it, or
            writes to it, raised before.
    """

    def __init__(self, tuner: nn.Module, linear: nn.Linear, cell_by_cell: bool) -> None:
        super().__init__()
        del tuner._modules['base_layer']
        made = [
            tensor for tensor in (*tuner.parameters(), *tuner.buffers()) if not tensor.is_meta
        ]  # what is shared may be
        if any(tensor.isnan().any() for tensor in made):
            raise RuntimeError('computed from NaN')
        tuner.to(linear.weight.device, linear.weight.dtype)
        tuner._parameters.update(linear._parameters)
        linear._parameters = self._parameters = tuner._parameters
        self._buffers, self._modules = tuner._buffers, tuner._modules
        for module in self.modules():
            module._non_persistent_buffers_set.update(module._buffers)
        tuner.__dict__['base_layer'], self.__dict__['tuner'] = linear, tuner
        self.cell_by_cell = cell_by_cell

    def train(self, mode: bool = True) -> 'HFLinear':
        self.tuner.training = mode
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        layer = self.tuner.base_layer if self.merged else self.tuner
        return layer(x.reshape(1, -1, x.shape[-1])).view(*x.shape[:-1], -1)

    def merged_values(self) -> dict[str, Tensor]:
        twin = copy.deepcopy(self.tuner)
        twin.merge()
        return dict(twin.base_layer.named_parameters())


@PEFT.register_module()
class HFPeft(PEFTMethod):
    """An :class:`HFLinear` in place of every chosen layer: any tuner of Hugging Face's package
    ``peft`` that adapts linear layers each by itself (``pip install 'mmsam_peft[peft]'``).

        peft=dict(type='HFPeft', config=dict(peft_type='LOHA', r=4, alpha=8))

    Trains what the tuner trains; its formula is in ``peft``'s documentation, and its parameters are
    named as there: ``blocks.0.attn.qkv.hada_w1_a.default``. Merges fully, by the tuner's own
    ``merge``.

    It starts as the identity, but for tuners whose default start is random (C3A, FOURIERFT) or that
    round differently (HRA), and where the config chooses a start (``init_weights``) other than
    True.

    Args:
        config: What ``peft``'s config class of this ``peft_type`` takes, but for where to go. Its
            seeds say which random projections are drawn. IA3 scales the input of the mlp's second
            layer, as in its paper, and the others' output.
        targets: Linear layers of a block, of 'qkv', 'proj', 'mlp', 'lin1', 'lin2'; in the decoder
            'q', 'k', 'v' too.
        blocks: 'all', 'first:N', 'last:N' or block numbers.

    Raises:
        ImportError: ``peft`` is not installed.
        ValueError: A ``peft_type`` that does not work here; an unknown setting, or one of where to
            go; a start that is computed from the base weights, as of LoRA's ``use_dora``; 'q', 'k'
            or 'v' of a fused qkv.
    """

    stores = False
    merges = 'fully'

    def __init__(
        self, config: dict = LOHA, targets: Sequence[str] = ('qkv',), blocks: Blocks = 'all'
    ) -> None:
        try:
            import peft
        except ImportError as error:
            raise ImportError(
                "HFPeft needs Hugging Face's peft: pip install 'mmsam_peft[peft]'."
            ) from error
        kind = config.get('peft_type')
        if kind not in ABLE or kind not in peft.PEFT_TYPE_TO_TUNER_MAPPING:
            able = ', '.join(name for name in ABLE if name in peft.PEFT_TYPE_TO_TUNER_MAPPING)
            reason = UNABLE.get(kind, f'is unknown to peft {peft.__version__} or to HFPeft')
            raise ValueError(f'peft_type={kind!r} {reason}: use one of {able}.')
        if places := sorted(PLACES & config.keys()):
            raise ValueError(
                f'config sets {", ".join(places)}: say where the tuner goes by targets and blocks '
                'of HFPeft, and '
                'what else is trained by unfreeze of the encoder.'
            )
        known = {field.name for field in fields(peft.PEFT_TYPE_TO_CONFIG_MAPPING[kind])}
        if unknown := sorted(config.keys() - known):
            raise ValueError(
                f'config sets {", ".join(unknown)}, which {kind} of peft {peft.__version__} does '
                'not have: choose '
                f'from {", ".join(sorted(known - PLACES))}.'
            )
        self.config, self.targets, self.blocks = dict(config), targets, blocks
        start = next(
            (value for key, value in config.items() if key.startswith('init_')),
            kind not in RANDOM_START,
        )
        self.identity_at_init = start is True and kind not in ROUNDS

    def inject(self, host: nn.Module) -> None:
        import peft

        targets = target_linears(host, self.targets, self.blocks)
        if any(target.qkv_parts is not None and not target.qkv_parts.whole for target in targets):
            raise ValueError(
                f'targets={self.targets!r}: HFPeft adapts whole linear layers, and here q, k and v '
                'are one: choose '
                "'qkv', or peft type LoRA, which adapts parts of it."
            )
        names = {module: name for name, module in host.named_modules()}
        linears = {names[target.linear]: target.linear for target in targets}
        for target in targets:
            setattr(target.parent, target.attribute, stand_in(target.linear))
        settings = self.config | dict(target_modules=list(linears))
        if settings['peft_type'] == 'IA3':
            second = [target.role == 'lin2' for target in targets]
            settings['feedforward_modules'] = [
                name for name, chosen in zip(linears, second, strict=True) if chosen
            ]
        config = peft.get_peft_config(settings)
        try:
            with torch.device('cpu'):  # where peft's generators are
                peft.PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type](host, config, 'default')
            self.trained = {
                name.replace('.base_layer.', '.')
                for name, p in host.named_parameters()
                if p.requires_grad
            }
            cell_by_cell = settings['peft_type'] not in DRAWS
            for target, linear in zip(targets, linears.values(), strict=True):
                setattr(
                    target.parent, target.attribute, HFLinear(target.linear, linear, cell_by_cell)
                )
        except RuntimeError as error:
            raise ValueError(
                f'The tuner of config={self.config} {FROM_BASE}: choose another start, or for DoRA '
                'peft type '
                'DoRA.'
            ) from error
        del host.peft_config

    def trains(self, name: str) -> bool:
        return name in self.trained
