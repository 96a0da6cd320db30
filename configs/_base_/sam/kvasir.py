# SAM on Kvasir-SEG
_base_ = [
    '../default_runtime.py', '../models/sam_binary.py', '../datasets/kvasir.py',
    '../schedules/adamw_30e.py']
