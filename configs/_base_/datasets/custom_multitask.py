# Your own images with labels of several tasks. Put them under data_root as
#     img_dir/{train,val,test}/NAME.jpg    (also .jpeg .png .bmp .tif .tiff .webp .npy)
#     TASK_dir/{train,val,test}/NAME.png   (or .npy), of the image's size; an image may lack some
# Labels, by the kind of task:
#     SemanticSegmentation, HumanParts     class numbers 0, 1, 2, ...; ignored: 255, in .npy also -1
#     Depth, InverseDepth                  16-bit PNG in steps of depth_unit metres, or .npy in
#                                          metres; unknown: 0
#     SurfaceNormals                       RGB of 8 bit, v / 127.5 - 1, or .npy (H, W, 3), x to the
#                                          right; unknown: grey or zero
#     Saliency, Edges                      masks of 0 and 255
# Images of other than 8 bits, or of other bands than grey and RGB, need pixels = dict(...) in your
# config: see docs/own_data.md. Transparency is refused. JPEG is refused for classes and depth.
# Images and labels are turned by their EXIF orientation; hidden files are ignored.
# tools/dataset_converters/pseudo_normals.py derives normals from depth.
_base_ = 'multitask.py'
tasks = [
    dict(type='SemanticSegmentation', name='seg', num_classes=2),
    dict(type='Depth', name='depth'),
    dict(type='SurfaceNormals', name='normals'),
]
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(
    type='MultiTaskDataset', data_root='data/custom_multitask/', depth_unit=0.001, tasks=tasks))
test_dataloader = dict(dataset=dict(test_dataloader['dataset'], split='test'))
val_evaluator = test_evaluator = dict(tasks=tasks)
default_hooks = dict(baselines=dict(type='BaselinesHook'))  # scores what costs no training
