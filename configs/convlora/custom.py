# python tools/train.py configs/convlora/custom.py
# For another method of README's table: --cfg-options model.backbone.peft.type=LoRA, with its
# settings as model.backbone.peft.rank=8 and so on. Full needs smaller steps: lr=2e-4. To train from
# random values: Full with model.checkpoint=None.
# For other networks: configs/segformer/custom_b0.py
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/sam_binary.py',
    '../_base_/datasets/custom.py',
    '../_base_/schedules/adamw_small.py',
]

# Your data. configs/_base_/datasets/custom.py says how the folders look and what mask_values may be
classes = ('background', 'object')
data = dict(
    data_root='data/custom/',
    metainfo=dict(classes=classes, palette=[[0, 0, 0], [0, 255, 0]]),
    mask_values='binary255')
train_dataloader = val_dataloader = test_dataloader = dict(dataset=data)

model = dict(backbone=dict(peft=dict(type='ConvLoRA')))

# For about 50 images; docs/small_data.md says what suits other numbers
max_epochs = 40
lr = 1e-3
augment = 'light'  # flips and scales; 'strong': turns and colours too; 'none'
val_interval = 2  # epochs
patience = 10  # training ends after so many validations that bring nothing better; None: never

# For three classes or more: name them above, set mask_values to 'index' or to their colours,
# replace sam_binary.py by sam_multiclass.py in _base_, and, the first only for ConvLoRA,
# uncomment these lines:
# model['backbone']['peft']['balance_weight'] = 2.0
# model['decode_head'] = dict(num_classes=len(classes), num_queries=2 * len(classes))
# val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
# default_hooks = dict(checkpoint=dict(save_best='mIoU'))
