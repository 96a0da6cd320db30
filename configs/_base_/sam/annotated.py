# SAM on your own images with annotations, one class beside the background. tools/start.py writes
# configs on it
_base_ = [
    '../default_runtime.py',
    '../models/sam_binary.py',
    '../datasets/annotated.py',
    '../schedules/adamw_small.py',
]
