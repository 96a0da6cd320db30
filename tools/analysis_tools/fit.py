"""Says how a config can be trained within a device's memory, without training it.

python tools/analysis_tools/fit.py configs/convlora/custom.py --memory 8G
    Counts the tensors of a step, of the config as it is and with what saves memory: activation
    checkpointing, frozen weights in fewer bits, updates in late blocks alone, a feature cache.
    peak: of all tensors, with 5 % for the allocator; on a GPU 0.6 GB for CUDA (both usual values,
    not measured); with --device cpu 0.5 GB for the process, not for its data loader's workers.
    time: of an image, by operations, beside the config as it is. The last line trains the fastest
    that fits.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # tool_arguments

from tool_arguments import MODEL, options_of, quiet_imports, settings_arguments


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('--memory', required=True, help='of the device: 8G (10^9 bytes), 7.5GiB')
    parser.add_argument('--device', choices=['cuda', 'cpu'], default='cuda')
    parser.add_argument('--amp', nargs='?', const='bf16', choices=['bf16'], help='as in training')
    settings_arguments(parser, *MODEL, '--batch-size')
    args = parser.parse_args()
    options = options_of(parser, args)
    with quiet_imports():
        from mmsam_peft.analysis.fit import command, fits, read_bytes, table
        from mmsam_peft.apis.launch import load_config
    try:
        memory = read_bytes(args.memory)
    except ValueError as error:
        parser.error(str(error))
    cfg = load_config(args.config, options, amp=args.amp)
    gpu = args.device == 'cuda'
    found = fits(cfg, memory, gpu, partial(print, file=sys.stderr, flush=True))
    print(table(found))
    if any(fit.stand_in for fit in found):
        print('\nThe loss looks at values: a plain one was counted in its place.')
    print()
    batch = cfg.train_dataloader.batch_size
    accumulated = cfg.optim_wrapper.get('accumulative_counts', 1)
    if 'max_iters' in cfg.train_cfg and any(0 < fit.batch < batch for fit in found):
        print(
            f'The config counts iterations, max_iters={cfg.train_cfg.max_iters}: where gradients '
            'are accumulated, set as many times more, in param_scheduler too.\n'
        )
    print(command(found, args.config, batch, options, args.amp, accumulated, gpu))


if __name__ == '__main__':
    main()
