"""Masks by an exported file, with onnxruntime and numpy: python run_onnx.py MODEL IMAGE.npy OUT.npy

IMAGE.npy: uint8, (height, width, 3), red, green, blue.
"""

import json
import sys

import numpy as np
import onnxruntime

model, image, out = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])
about = json.loads(session.get_modelmeta().custom_metadata_map['mmsam_peft'])
steps = about['preprocessing']
if not steps['inside'] or steps['resize'] != 'inside':
    sys.exit(f'{model} wants images that are prepared as it says: {steps}')
pixels = np.load(image)
if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
    sys.exit(f'{image}: got {pixels.dtype} {pixels.shape}, expected uint8 (height, width, 3)')
answers = dict(zip(about['outputs'], session.run(None, {'images': pixels[None]}), strict=True))
for name in about.get('tasks', ['masks']):  # masks: class numbers, (height, width)
    found = answers[name][0]
    np.save(out if name == 'masks' else out.replace('.npy', f'_{name}.npy'), found)
    print(name, found.dtype, found.shape)
if about.get('classes'):
    for number, count in zip(*np.unique(answers['masks'], return_counts=True), strict=True):
        print(f'{about["classes"][number]}: {count / answers["masks"].size:.1%} of the pixels')
