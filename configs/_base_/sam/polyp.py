# SAM on polyps
_base_ = [
    '../default_runtime.py', '../models/sam_binary.py', '../datasets/polyp.py',
    '../schedules/adamw_30e.py']
