# NYUv2 as folders at 192 x 144, 13 classes, depth and pseudo-normals of
# tools/dataset_converters/pseudo_normals.py, batch 4
_base_ = '../../configs/_base_/datasets/nyuv2.py'
tasks = _base_.tasks
image_size = (144, 192)
train_dataloader = dict(
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(layout='folder', val_share=0),
)
val_dataloader = dict(batch_size=4, dataset=dict(layout='folder', split='test', val_share=0))
test_dataloader = val_dataloader
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=300))
