"""Merges an adapter into plain SAM weights.

python tools/merge_adapter.py ADAPTER sam_tuned.pth
python tools/merge_adapter.py CONFIG WEIGHTS sam_tuned.pth
python tools/merge_adapter.py ADAPTER sam_tuned

The file has SAM's keys: segment-anything loads it, and so does model.checkpoint of any config here.
A name without an ending is a folder for Hugging Face's transformers (SamModel, Sam2Model). Before
anything is written, a plain encoder with these weights is compared with the adapted one.
Segment-anything runs four mask tokens where our binary head runs one, so its masks are not the same
as ours; the image embedding is.
"""

from pathlib import Path

from model_arguments import given_model, model_parser
from tool_arguments import options_of, quiet_imports, settings_arguments


def main() -> None:
    parser = model_parser(
        __doc__, 'OUT', ".pth, .safetensors, or a folder for Hugging Face's transformers"
    )
    parser.add_argument('--task', help='whose encoder, where the method adapts one for each task')
    settings_arguments(parser)
    args = parser.parse_args()
    options = options_of(parser, args)
    config, weights, place = given_model(parser, args.given, 'OUT')
    out = Path(place)
    if out.suffix not in ('.pth', '.safetensors', ''):
        parser.error(
            f'{out}: the name has to end in .pth or .safetensors, or be that of a folder without '
            "an ending, for Hugging Face's transformers"
        )
    # what takes seconds to import comes after what a user may have mistyped
    with quiet_imports():
        from mmsam_peft.apis.export.hugging_face import require_hugging_face, write_hugging_face
        from mmsam_peft.apis.inference import init_model
        from mmsam_peft.apis.launch import load_config
        from mmsam_peft.apis.merging import (
            fits_sam_decoder,
            merged_sam_state,
            require_writable,
            verify_merge,
            write_state,
        )

    cfg = None
    if config:
        cfg, options = load_config(config, options), None
    named = cfg.model.get('checkpoint') if cfg else None
    require_writable(out, [weights, config, args.checkpoint, named])
    model = init_model(cfg, weights, 'cpu', options, checkpoint=args.checkpoint, base=True)
    require_writable(out, [model.checkpoint])
    if not out.suffix:
        require_hugging_face(model)
    state = {key: value.contiguous() for key, value in merged_sam_state(model, args.task).items()}
    found = verify_merge(model, state, args.task)
    if out.suffix:
        write_state(state, out)
    else:
        theirs = write_hugging_face(model, state, out)
        print(f"{out}: for Hugging Face's transformers; relative difference {theirs:.1e}")
        return
    decoder = (
        'with the tuned mask decoder'
        if fits_sam_decoder(model)
        else "with the base checkpoint's mask decoder, if any"
    )
    print(
        f'{out}: {len(state)} tensors, {decoder}; relative difference to the adapted model '
        f'{found:.1e}'
    )


if __name__ == '__main__':
    main()
