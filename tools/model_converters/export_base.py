"""Writes a trained model's encoder and mask decoder under our names of base weights, in half
precision, as a base for fine-tuning.

python tools/model_converters/export_base.py CONFIG WEIGHTS OUT.safetensors
"""

import argparse

import torch
from safetensors.torch import save_file

from mmsam_peft.apis.inference import init_model
from mmsam_peft.apis.launch import load_config
from mmsam_peft.finite import require_finite
from mmsam_peft.models.backbones.sam_keys import SAM
from mmsam_peft.whole_files import whole_file


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument(
        'weights', help='checkpoint (.pth) or adapter of a full training (.safetensors)'
    )
    parser.add_argument('out')
    args = parser.parse_args()

    model = init_model(load_config(args.config), args.weights, 'cpu')
    if any(method.added for _, method in model.adapted.values()):
        raise ValueError(
            f'{args.config} has a PEFT method with parameters of its own, which SAM has no keys '
            'for: export a '
            'model trained in full.'
        )
    keys = getattr(model.backbone, 'keys', SAM)
    state = {
        key: value.to(torch.float16).contiguous()
        for key, value in keys.own(model.state_dict()).items()
    }
    require_finite(state, f'The model for {args.out}', 'It was not written: float16 ends at 65504.')
    with whole_file(args.out) as unfinished:
        save_file(state, unfinished)
        unfinished.chmod(0o644)  # safetensors keeps its files to their owner
    print(f'{len(state)} tensors in {args.out}')


if __name__ == '__main__':
    main()
