# SAM on Massachusetts roads
_base_ = [
    '../default_runtime.py', '../models/sam_binary.py', '../datasets/roads.py',
    '../schedules/adamw_30e.py']
max_epochs = 20
lr = 3e-4
