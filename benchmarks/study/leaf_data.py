# Leaf disease at 128 x 128, batch 4. It has train and val only: every fifth image of train is held
# out for validation, and val is the test set
_base_ = '../leaf/data.py'
size = (128, 128)
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[2].scale = test_pipeline[1].scale = size
loading = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(
    loading,
    batch_size=4,
    dataset=dict(pipeline=train_pipeline, indices=[i for i in range(351) if i % 5]),
)
val_dataloader = dict(
    loading,
    dataset=dict(
        data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train'),
        pipeline=test_pipeline,
        indices=list(range(0, 351, 5)),
    ),
)
test_dataloader = dict(loading, dataset=dict(pipeline=test_pipeline))
default_hooks = dict(checkpoint=dict(interval=150), visualization=dict(draw=False))
