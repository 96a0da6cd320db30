# SAM on ISIC 2017
_base_ = [
    '../default_runtime.py', '../models/sam_binary.py', '../datasets/isic2017.py',
    '../schedules/adamw_30e.py']
