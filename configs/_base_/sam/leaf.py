# SAM on leaf disease
_base_ = [
    '../default_runtime.py', '../models/sam_binary.py', '../datasets/leaf.py',
    '../schedules/adamw_30e.py']
lr = 3e-4
