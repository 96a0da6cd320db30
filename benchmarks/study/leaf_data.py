# Leaf disease at 128 x 128, batch 4. It has train and val only: every fifth image of train is held
# out for validation, and val is the test set
_base_ = '../leaf/data.py'
image_size = 128
loading = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(
    loading, batch_size=4, dataset=dict(indices=[i for i in range(351) if i % 5])
)
val_dataloader = dict(
    loading,
    dataset=dict(
        data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train'),
        indices=list(range(0, 351, 5)),
    ),
)
test_dataloader = loading
default_hooks = dict(checkpoint=dict(interval=150), visualization=dict(draw=False))
