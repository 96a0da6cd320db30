# SAM on your own images, several classes. tools/start.py writes configs on it
_base_ = [
    '../default_runtime.py',
    '../models/sam_multiclass.py',
    '../datasets/custom_multiclass.py',
    '../schedules/adamw_small.py',
]
