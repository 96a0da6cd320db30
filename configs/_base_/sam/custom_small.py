# The small model that comes with the package, for trying things out: not SAM, and much weaker
_base_ = [
    '../default_runtime.py',
    '../models/sam_quickstart.py',
    '../datasets/custom.py',
    '../schedules/adamw_small.py',
]
model = dict(data_preprocessor=dict(size=(1024, 1024)), backbone=dict(img_size=1024))  # the data's
