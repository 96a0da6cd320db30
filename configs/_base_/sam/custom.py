# SAM on your own images, one class beside the background. tools/start.py writes configs on it
_base_ = [
    '../default_runtime.py',
    '../models/sam_binary.py',
    '../datasets/custom.py',
    '../schedules/adamw_small.py',
]
