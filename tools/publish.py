"""Makes a folder of an adapter that others can use: the adapter, a config that stands alone, a card
(README.md) with data, classes, scores and licences, and a picture.

python tools/publish.py ADAPTER --out FOLDER --license apache-2.0 --data "500 photographs of ..."
python tools/publish.py ADAPTER --out FOLDER --upload OWNER/NAME

See docs/share.md.
"""

import argparse

from tool_arguments import quiet_imports


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('adapter', help='an adapter file (.safetensors)')
    parser.add_argument('--out', required=True, help='a new folder, or one made by this tool')
    parser.add_argument('--config', help="that of the training (default: the adapter's own)")
    parser.add_argument('--checkpoint', help='the base weights, as for tools/predict.py')
    parser.add_argument(
        '--images', help='a file, a folder or a quoted pattern of images that everyone may see'
    )
    parser.add_argument(
        '--val-images', action='store_true', help="show some of the config's validation images"
    )
    parser.add_argument('--license', metavar='ID', help='of the adapter, such as apache-2.0')
    parser.add_argument('--data', metavar='TEXT', help='what it was trained on')
    parser.add_argument(
        '--upload', metavar='OWNER/NAME', help="to Hugging Face's hub, privately; log in first"
    )
    parser.add_argument('--public', action='store_true', help='let everyone see the upload')
    args = parser.parse_args()
    if args.public and not args.upload:
        parser.error('--public goes with --upload')
    if args.val_images and not args.config:
        parser.error('--val-images goes with --config, which says where they are')
    with quiet_imports():
        from mmengine.logging import MMLogger

        from mmsam_peft.apis.console import quieted
        from mmsam_peft.apis.images import find_images
        from mmsam_peft.apis.sharing.publish import publish, upload
    quieted(MMLogger.get_current_instance())
    advice = publish(
        args.adapter,
        args.out,
        args.config,
        args.checkpoint,
        find_images(args.images) if args.images else (),
        args.val_images,
        args.license,
        args.data,
        args.upload,
    )
    print(f'{args.out}: look at README.md before others do')
    for sentence in advice:
        print(f'  {sentence}')
    if args.upload:
        print(f'Uploaded: {upload(args.out, args.upload, args.public)}')


if __name__ == '__main__':
    main()
