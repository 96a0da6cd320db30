# SAM on your own images with annotations, several classes. tools/start.py writes configs on it
_base_ = [
    '../default_runtime.py',
    '../models/sam_multiclass.py',
    '../datasets/annotated_multiclass.py',
    '../schedules/adamw_small.py',
]
